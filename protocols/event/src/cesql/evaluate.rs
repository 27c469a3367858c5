//! Evaluation of an expression against an event: total, so that every part has a value, and every
//! error is noted (CESQL 1.0, 3.2 to 3.7).

use std::borrow::Cow;

use super::error::EvaluationError;
use super::function::Function;
use super::tree::{ArithmeticOperator, Chain, ComparisonOperator, LogicOperator, Node};
use super::value::{Kind, Value};
use crate::attribute::AttributeValue;
use crate::event::CloudEvent;
use crate::filter::defined_attribute;

/// `Err` holds the value that stands in after an error, which has been noted. Whatever is made of
/// such a value stands in as well: an operator or a function with an operand that failed gives the
/// zero value of its own type, as the conformance kit asks (`true AND (1 != 1 / 0)` is false).
pub(super) type Evaluated<'a> = Result<Value<'a>, Value<'a>>;

/// One evaluation.
pub(super) struct Evaluator<'a> {
    event: &'a CloudEvent,
    errors: Vec<EvaluationError>,
    /// Stop at the first error and note none: the caller only asks whether there is one (4.1).
    fail_fast: bool,
}

impl<'a> Evaluator<'a> {
    pub(super) fn complete(event: &'a CloudEvent) -> Self {
        Self { event, errors: Vec::new(), fail_fast: false }
    }

    pub(super) fn fail_fast(event: &'a CloudEvent) -> Self {
        Self { fail_fast: true, ..Self::complete(event) }
    }

    pub(super) fn into_errors(self) -> Vec<EvaluationError> {
        self.errors
    }

    /// The value of `node`. The recursion is as deep as the tree, which the parser bounds.
    pub(super) fn evaluate(&mut self, node: &'a Node) -> Evaluated<'a> {
        match node {
            Node::Literal(value) => Ok(value.borrowed()),
            Node::Attribute(name) => self.attribute(name),
            Node::Exists(name) => Ok(Value::Boolean(attribute(self.event, name).is_some())),
            Node::Not(operand) => {
                let truth = self.boolean(operand);
                boolean(truth.map(|truth| !truth))
            }
            Node::Negate(operand) => self.negate(operand),
            Node::Like { operand, pattern, negated } => {
                let text = self.evaluate(operand).ok().map(Value::into_text);
                boolean(text.map(|text| pattern.matches(&text) != *negated))
            }
            Node::In { operand, set, negated } => {
                let found = self.is_in(operand, set);
                boolean(found.map(|found| found != *negated))
            }
            Node::Arithmetic(chain) => self.arithmetic(chain),
            Node::Comparison(chain) => self.comparison(chain),
            Node::Logic(chain) => self.logic(chain),
            Node::Call { function, arguments } => self.call(*function, arguments),
            Node::MissingFunction { name, arguments } => {
                self.note(|| EvaluationError::MissingFunction {
                    name: name.to_ascii_uppercase(),
                    arguments: *arguments,
                });
                Err(Kind::Boolean.zero())
            }
        }
    }

    fn note(&mut self, error: impl FnOnce() -> EvaluationError) {
        if !self.fail_fast {
            self.errors.push(error());
        }
    }

    /// Alone, a missing attribute has no type that is known, which counts as Boolean (3.2).
    fn attribute(&mut self, name: &str) -> Evaluated<'a> {
        attribute(self.event, name).ok_or_else(|| {
            self.note(|| EvaluationError::MissingAttribute { name: name.to_owned() });
            Kind::Boolean.zero()
        })
    }

    /// `value` as an Integer; `None` after an error.
    fn integer(&mut self, value: &Value<'a>) -> Option<i32> {
        let number = value.to_integer();
        if number.is_none() {
            self.note(|| EvaluationError::cast(value, Kind::Integer));
        }
        number
    }

    /// `value` as one of the type `kind`; `None` after an error.
    fn cast(&mut self, value: Value<'a>, kind: Kind) -> Option<Value<'a>> {
        match value.cast(kind) {
            Ok(value) => Some(value),
            Err(value) => {
                self.note(|| EvaluationError::cast(&value, kind));
                None
            }
        }
    }

    /// `node` as a Boolean; `None` after an error.
    fn boolean(&mut self, node: &'a Node) -> Option<bool> {
        let value = self.evaluate(node).ok()?;
        let truth = value.to_boolean();
        if truth.is_none() {
            self.note(|| EvaluationError::cast(&value, Kind::Boolean));
        }
        truth
    }

    /// The operands of a binary operator; `None` when one of them failed.
    fn operands(&mut self, left: Evaluated<'a>, right: &'a Node) -> Option<(Value<'a>, Value<'a>)> {
        if left.is_err() && self.fail_fast {
            return None;
        }
        let right = self.evaluate(right);
        left.ok().zip(right.ok())
    }

    fn negate(&mut self, operand: &'a Node) -> Evaluated<'a> {
        let number = self.evaluate(operand).ok();
        let Some(number) = number.and_then(|value| self.integer(&value)) else {
            return Err(Kind::Integer.zero());
        };
        number.checked_neg().map(Value::Integer).ok_or_else(|| {
            self.note(|| EvaluationError::Math {
                calculation: format!("-({number})"),
                problem: OVERFLOW,
            });
            Kind::Integer.zero()
        })
    }

    fn arithmetic(&mut self, chain: &'a Chain<ArithmeticOperator>) -> Evaluated<'a> {
        let mut result = self.evaluate(&chain.first);
        for (operator, right) in &chain.rest {
            let number = self
                .operands(result, right)
                .and_then(|(left, right)| self.calculate(*operator, &left, &right));
            result = number.map(Value::Integer).ok_or_else(|| Kind::Integer.zero());
        }
        result
    }

    fn calculate(
        &mut self,
        operator: ArithmeticOperator,
        left: &Value<'a>,
        right: &Value<'a>,
    ) -> Option<i32> {
        let left = self.integer(left);
        let right = self.integer(right);
        let (left, right) = left.zip(right)?;
        let result = match operator {
            ArithmeticOperator::Add => left.checked_add(right),
            ArithmeticOperator::Subtract => left.checked_sub(right),
            ArithmeticOperator::Multiply => left.checked_mul(right),
            ArithmeticOperator::Divide => left.checked_div(right),
            // The least number modulo -1 is 0, although the division would overflow.
            ArithmeticOperator::Remainder => (right != 0).then(|| left.wrapping_rem(right)),
        };
        if result.is_none() {
            let divides =
                matches!(operator, ArithmeticOperator::Divide | ArithmeticOperator::Remainder);
            self.note(|| EvaluationError::Math {
                calculation: format!("{left} {} {right}", operator.symbol()),
                problem: if divides && right == 0 { "division by zero" } else { OVERFLOW },
            });
        }
        result
    }

    fn comparison(&mut self, chain: &'a Chain<ComparisonOperator>) -> Evaluated<'a> {
        let mut result = self.evaluate(&chain.first);
        for (operator, right) in &chain.rest {
            let truth = self
                .operands(result, right)
                .and_then(|(left, right)| self.compare(*operator, left, &right));
            result = boolean(truth);
        }
        result
    }

    fn compare(
        &mut self,
        operator: ComparisonOperator,
        left: Value<'a>,
        right: &Value<'a>,
    ) -> Option<bool> {
        use ComparisonOperator::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
        if let Equal | NotEqual = operator {
            // The right operand says which of the three definitions is meant (3.7).
            let left = self.cast(left, right.kind())?;
            return Some((left == *right) == (operator == Equal));
        }
        let left = self.integer(&left);
        let right = self.integer(right);
        let (left, right) = left.zip(right)?;
        Some(match operator {
            Less => left < right,
            LessOrEqual => left <= right,
            Greater => left > right,
            GreaterOrEqual => left >= right,
            Equal => left == right,
            NotEqual => left != right,
        })
    }

    fn logic(&mut self, chain: &'a Chain<LogicOperator>) -> Evaluated<'a> {
        let mut result = self.boolean(&chain.first);
        for (operator, right) in &chain.rest {
            result = match (operator, result) {
                // What failed stands as false, and false AND anything is not evaluated.
                (LogicOperator::And, Some(false) | None) | (LogicOperator::Or, Some(true)) => {
                    result
                }
                (_, None) if self.fail_fast => None,
                (operator, left) => {
                    let right = self.boolean(right);
                    left.zip(right).map(|(left, right)| match operator {
                        LogicOperator::And => left && right,
                        LogicOperator::Or => left || right,
                        LogicOperator::Xor => left != right,
                    })
                }
            };
        }
        boolean(result)
    }

    /// Whether the set holds the value of `operand`; each element is cast to its type (3.7). What
    /// comes after the element that is equal is not evaluated.
    fn is_in(&mut self, operand: &'a Node, set: &'a [Node]) -> Option<bool> {
        let mut failed = false;
        let wanted = self.evaluate(operand).ok()?;
        for element in set {
            let element = self.evaluate(element).ok();
            match element.and_then(|element| self.cast(element, wanted.kind())) {
                Some(element) if element == wanted => return (!failed).then_some(true),
                Some(_) => {}
                None if self.fail_fast => return None,
                None => failed = true,
            }
        }
        (!failed).then_some(false)
    }

    fn call(&mut self, function: Function, arguments: &'a [Node]) -> Evaluated<'a> {
        let mut values = Vec::with_capacity(arguments.len());
        for (index, argument) in arguments.iter().enumerate() {
            let value = self.evaluate(argument).ok();
            let value = match function.parameter(index) {
                Some(kind) => value.and_then(|value| self.cast(value, kind)),
                None => value,
            };
            match value {
                Some(value) => values.push(value),
                None if self.fail_fast => break,
                None => {}
            }
        }
        if values.len() < arguments.len() {
            return Err(function.result().zero());
        }
        function.call(values).map_err(|(stand_in, error)| {
            self.note(|| error);
            stand_in
        })
    }
}

const OVERFLOW: &str = "the result does not fit 32 bits";

fn boolean<'a>(truth: Option<bool>) -> Evaluated<'a> {
    truth.map(Value::Boolean).ok_or_else(|| Kind::Boolean.zero())
}

/// The attribute `name` with the type that the event gives it; all that CloudEvents defines itself
/// are text.
fn attribute<'a>(event: &'a CloudEvent, name: &str) -> Option<Value<'a>> {
    if let Some(text) = defined_attribute(event, name) {
        return Some(Value::String(Cow::Borrowed(text)));
    }
    event.extension(name).map(|value| match value {
        AttributeValue::Boolean(truth) => Value::Boolean(*truth),
        AttributeValue::Integer(number) => Value::Integer(*number),
        AttributeValue::String(text) => Value::String(Cow::Borrowed(text)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cesql::Expression;

    fn event() -> CloudEvent {
        let mut builder = CloudEvent::builder();
        for (name, text) in [
            ("specversion", "1.0"),
            ("id", "1"),
            ("source", "/s"),
            ("type", "order.created"),
            ("region", "eu"),
        ] {
            builder.attribute(name, text).unwrap();
        }
        builder.build().unwrap()
    }

    #[test]
    fn texts_are_borrowed_from_the_event_and_the_expression() {
        let event = event();
        for source in ["type", "region", "specversion", "'x'", "SUBSTRING(type, 7)"] {
            let expression = Expression::parse(source).unwrap();
            let value = expression.evaluate(&event).value;
            assert!(matches!(value, Value::String(Cow::Borrowed(_))), "{source}");
        }
    }

    #[test]
    fn failing_fast_stops_at_the_first_error_and_notes_none() {
        let event = event();
        let source = "absent = 1 OR 1 / 0 = 1 OR LEFT('a', -1) = LENGTH('b', 'c')";
        let expression = Expression::parse(source).unwrap();
        assert_eq!(expression.evaluate(&event).errors.len(), 4);
        let mut evaluator = Evaluator::fail_fast(&event);
        assert!(evaluator.evaluate(&expression.0.root).is_err());
        assert!(evaluator.into_errors().is_empty());
    }
}
