//! An expression as a tree, its operators named and its functions found.

use super::function::Function;
use super::like::Pattern;
use super::value::Value;

/// One expression.
#[derive(Debug)]
pub(super) enum Node {
    Literal(Value<'static>),
    /// The value of the attribute with this name.
    Attribute(Box<str>),
    /// Whether the event has the attribute with this name.
    Exists(Box<str>),
    Not(Box<Self>),
    Negate(Box<Self>),
    Like {
        operand: Box<Self>,
        pattern: Pattern,
        negated: bool,
    },
    In {
        operand: Box<Self>,
        set: Vec<Self>,
        negated: bool,
    },
    Arithmetic(Chain<ArithmeticOperator>),
    Comparison(Chain<ComparisonOperator>),
    Logic(Chain<LogicOperator>),
    Call {
        function: Function,
        arguments: Vec<Self>,
    },
    /// A call of a function that does not exist; its arguments are never evaluated.
    MissingFunction {
        name: Box<str>,
        arguments: usize,
    },
}

/// Operators of one precedence side by side, to be applied from left to right. Kept flat, so that
/// a thousand alternatives joined by OR are not a thousand levels deep.
#[derive(Debug)]
pub(super) struct Chain<Operator> {
    pub(super) first: Box<Node>,
    pub(super) rest: Vec<(Operator, Node)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ArithmeticOperator {
    Multiply,
    Divide,
    Remainder,
    Add,
    Subtract,
}

impl ArithmeticOperator {
    pub(super) fn symbol(self) -> char {
        match self {
            Self::Multiply => '*',
            Self::Divide => '/',
            Self::Remainder => '%',
            Self::Add => '+',
            Self::Subtract => '-',
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ComparisonOperator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogicOperator {
    And,
    Or,
    Xor,
}
