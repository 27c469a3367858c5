//! CESQL as its users see it: tables of expressions with the attributes of an event, the value
//! that is expected, and the kinds of error. They cover what the conformance kit of CESQL 1.0
//! covers, and the corners that it leaves open.
#![expect(clippy::unwrap_used, reason = "a test may stop here")]

mod arithmetic;
mod attributes;
mod casts;
mod comparison;
mod functions;
mod like;
mod limits;
mod literals;
mod logic;
mod precedence;
mod sets;
mod syntax;

use std::borrow::Cow;

use eg_event::cesql::{EvaluationError, Expression, Value};
use eg_event::{AttributeValue, CloudEvent};

/// The value that a row expects.
#[derive(Clone, Copy, Debug)]
enum Expected {
    B(bool),
    I(i32),
    S(&'static str),
}

/// An attribute that a row gives its event.
#[derive(Clone, Copy, Debug)]
enum Given {
    Text(&'static str),
    Number(i32),
    Truth(bool),
}

/// The kinds of error, as CESQL 1.0 names them in 3.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Math,
    Cast,
    MissingAttribute,
    MissingFunction,
    FunctionEvaluation,
}

/// An expression, the attributes of the event, the value, the errors in their order.
type Row = (&'static str, &'static [(&'static str, Given)], Expected, &'static [Fault]);

fn event(given: &[(&str, Given)]) -> CloudEvent {
    let mut builder = CloudEvent::builder();
    for (name, text) in
        [("specversion", "1.0"), ("id", "event-1"), ("source", "/tests"), ("type", "test.run")]
    {
        if given.iter().all(|(replaced, _)| *replaced != name) {
            builder.attribute(name, text).unwrap();
        }
    }
    for (name, value) in given {
        match value {
            Given::Text(text) => builder.attribute(name, text).unwrap(),
            Given::Number(number) => {
                builder.extension(name, AttributeValue::Integer(*number)).unwrap();
            }
            Given::Truth(truth) => {
                builder.extension(name, AttributeValue::Boolean(*truth)).unwrap();
            }
        }
    }
    builder.build().unwrap()
}

fn fault(error: &EvaluationError) -> Fault {
    match error {
        EvaluationError::Math { .. } => Fault::Math,
        EvaluationError::Cast { .. } => Fault::Cast,
        EvaluationError::MissingAttribute { .. } => Fault::MissingAttribute,
        EvaluationError::MissingFunction { .. } => Fault::MissingFunction,
        EvaluationError::FunctionEvaluation { .. } => Fault::FunctionEvaluation,
    }
}

/// Evaluates every row, both ways.
fn check(rows: &[Row]) {
    for (source, given, expected, faults) in rows {
        let event = event(given);
        let expression = Expression::parse(source).unwrap();
        let evaluation = expression.evaluate(&event);
        let expected = match expected {
            Expected::B(truth) => Value::Boolean(*truth),
            Expected::I(number) => Value::Integer(*number),
            Expected::S(text) => Value::String(Cow::Borrowed(text)),
        };
        assert_eq!(evaluation.value, expected, "{source} with {given:?}");
        let found: Vec<Fault> = evaluation.errors.iter().map(fault).collect();
        assert_eq!(found, *faults, "{source}: {:?}", evaluation.errors);
        let passes = faults.is_empty() && expected.to_boolean() == Some(true);
        assert_eq!(expression.lets_pass(&event), passes, "{source} as a filter");
    }
}
