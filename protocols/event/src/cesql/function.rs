//! The functions of the language: which there are, and what they do (CESQL 1.0, 3.5).

use std::borrow::Cow;
use std::ops::RangeInclusive;

use super::TEXT_BYTES_MAX;
use super::error::EvaluationError;
use super::value::{Kind, Value};

/// A built-in function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Length,
    Concat,
    ConcatWs,
    Lower,
    Upper,
    Trim,
    Left,
    Right,
    Substring,
    Abs,
    Int,
    Bool,
    String,
    IsInt,
    IsBool,
}

/// Names and the number of arguments they take. The five of the last lines are not in the tables
/// of the specification, but its text and its conformance kit use them.
const FUNCTIONS: [(&str, Function, RangeInclusive<usize>); 15] = [
    ("LENGTH", Function::Length, 1..=1),
    ("CONCAT", Function::Concat, 0..=usize::MAX),
    ("CONCAT_WS", Function::ConcatWs, 1..=usize::MAX),
    ("LOWER", Function::Lower, 1..=1),
    ("UPPER", Function::Upper, 1..=1),
    ("TRIM", Function::Trim, 1..=1),
    ("LEFT", Function::Left, 2..=2),
    ("RIGHT", Function::Right, 2..=2),
    ("SUBSTRING", Function::Substring, 2..=3),
    ("ABS", Function::Abs, 1..=1),
    ("INT", Function::Int, 1..=1),
    ("BOOL", Function::Bool, 1..=1),
    ("STRING", Function::String, 1..=1),
    ("IS_INT", Function::IsInt, 1..=1),
    ("IS_BOOL", Function::IsBool, 1..=1),
];

/// What a function comes to: a value, or the value that stands in and why.
type Called<'a> = Result<Value<'a>, (Value<'a>, EvaluationError)>;

impl Function {
    /// The function that is called so, in whatever case, with that many arguments.
    pub(super) fn find(name: &str, arguments: usize) -> Option<Self> {
        FUNCTIONS
            .iter()
            .find(|(known, _, arity)| {
                known.eq_ignore_ascii_case(name) && arity.contains(&arguments)
            })
            .map(|(_, function, _)| *function)
    }

    /// The type of what it gives back.
    pub(super) fn result(self) -> Kind {
        match self {
            Self::Length | Self::Abs | Self::Int => Kind::Integer,
            Self::Bool | Self::IsInt | Self::IsBool => Kind::Boolean,
            Self::Concat
            | Self::ConcatWs
            | Self::Lower
            | Self::Upper
            | Self::Trim
            | Self::Left
            | Self::Right
            | Self::Substring
            | Self::String => Kind::String,
        }
    }

    /// The type of its argument at `index`, from 0; `None` where any will do.
    pub(super) fn parameter(self, index: usize) -> Option<Kind> {
        match self {
            Self::IsInt | Self::IsBool => None,
            Self::Abs | Self::Int => Some(Kind::Integer),
            Self::Bool => Some(Kind::Boolean),
            Self::Left | Self::Right | Self::Substring if index > 0 => Some(Kind::Integer),
            _ => Some(Kind::String),
        }
    }

    /// Calls it with arguments of the right number and types.
    pub(super) fn call(self, arguments: Vec<Value<'_>>) -> Called<'_> {
        let mut arguments = Arguments(arguments.into_iter());
        match self {
            Self::Length => Ok(Value::Integer(length(&arguments.text()))),
            Self::Concat => concatenate("CONCAT", "", arguments),
            Self::ConcatWs => {
                let delimiter = arguments.text();
                concatenate("CONCAT_WS", &delimiter, arguments)
            }
            Self::Lower => Ok(text(arguments.text().to_lowercase())),
            Self::Upper => Ok(text(arguments.text().to_uppercase())),
            Self::Trim => Ok(piece(arguments.text(), str::trim)),
            Self::Left => left(arguments.text(), arguments.integer()),
            Self::Right => right(arguments.text(), arguments.integer()),
            Self::Substring => {
                let (whole, position) = (arguments.text(), arguments.integer());
                substring(whole, position, arguments.optional_integer())
            }
            Self::Abs => {
                let number = arguments.integer();
                number.checked_abs().map(Value::Integer).ok_or_else(|| {
                    let error = EvaluationError::Math {
                        calculation: format!("ABS({number})"),
                        problem: "the result does not fit 32 bits",
                    };
                    (Value::Integer(i32::MAX), error)
                })
            }
            // The cast to the type of the parameter is all that these do.
            Self::Int | Self::Bool | Self::String => Ok(arguments.any()),
            Self::IsInt => Ok(Value::Boolean(arguments.any().to_integer().is_some())),
            Self::IsBool => Ok(Value::Boolean(arguments.any().to_boolean().is_some())),
        }
    }
}

/// Arguments one after another. The parser saw to their number and the evaluation to their types,
/// so that the zero values for what is not there are never used.
struct Arguments<'a>(std::vec::IntoIter<Value<'a>>);

impl<'a> Arguments<'a> {
    fn any(&mut self) -> Value<'a> {
        self.0.next().unwrap_or(Value::Boolean(false))
    }

    fn text(&mut self) -> Cow<'a, str> {
        self.0.next().map(Value::into_text).unwrap_or_default()
    }

    fn integer(&mut self) -> i32 {
        self.optional_integer().unwrap_or_default()
    }

    fn optional_integer(&mut self) -> Option<i32> {
        self.0.next()?.to_integer()
    }
}

fn text<'a>(text: impl Into<Cow<'a, str>>) -> Value<'a> {
    Value::String(text.into())
}

/// A piece of `whole`, borrowed where `whole` is.
fn piece(whole: Cow<'_, str>, cut: impl FnOnce(&str) -> &str) -> Value<'_> {
    match whole {
        Cow::Borrowed(whole) => text(cut(whole)),
        Cow::Owned(whole) => text(cut(&whole).to_owned()),
    }
}

fn length(text: &str) -> i32 {
    i32::try_from(text.chars().count()).unwrap_or(i32::MAX)
}

/// The byte at which the character `index`, from 0, begins; the end of a shorter text.
fn byte_at(text: &str, index: usize) -> usize {
    text.char_indices().nth(index).map_or(text.len(), |(at, _)| at)
}

fn failed<'a>(
    stand_in: Value<'a>,
    function: &'static str,
    expected: impl Into<Cow<'static, str>>,
) -> Called<'a> {
    let expected = expected.into();
    Err((stand_in, EvaluationError::FunctionEvaluation { function, expected }))
}

fn concatenate<'a>(
    function: &'static str,
    delimiter: &str,
    arguments: Arguments<'a>,
) -> Called<'a> {
    let mut whole = String::new();
    for (index, argument) in arguments.0.enumerate() {
        if index > 0 {
            whole.push_str(delimiter);
        }
        whole.push_str(&argument.into_text());
        if whole.len() > TEXT_BYTES_MAX {
            let expected = format!("a result of at most {TEXT_BYTES_MAX} bytes");
            return failed(text(""), function, expected);
        }
    }
    Ok(text(whole))
}

fn left(whole: Cow<'_, str>, count: i32) -> Called<'_> {
    match usize::try_from(count) {
        Ok(count) => Ok(piece(whole, |whole| &whole[..byte_at(whole, count)])),
        Err(_) => failed(text(whole), "LEFT", "a length that is not negative"),
    }
}

fn right(whole: Cow<'_, str>, count: i32) -> Called<'_> {
    match usize::try_from(count) {
        Ok(count) => Ok(piece(whole, |whole| {
            let skipped = whole.chars().count().saturating_sub(count);
            &whole[byte_at(whole, skipped)..]
        })),
        Err(_) => failed(text(whole), "RIGHT", "a length that is not negative"),
    }
}

fn substring(whole: Cow<'_, str>, position: i32, count: Option<i32>) -> Called<'_> {
    let Ok(count) = count.map_or(Ok(usize::MAX), usize::try_from) else {
        return failed(text(""), "SUBSTRING", "a length that is not negative");
    };
    let length = whole.chars().count();
    let distance = usize::try_from(position.unsigned_abs()).unwrap_or(usize::MAX);
    if distance > length {
        return failed(
            text(""),
            "SUBSTRING",
            "a position within the text, from its start or its end",
        );
    }
    let start = match position {
        0 => return Ok(text("")),
        1.. => distance - 1,
        _ => length - distance,
    };
    Ok(piece(whole, |whole| {
        let tail = &whole[byte_at(whole, start)..];
        &tail[..byte_at(tail, count)]
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_found_by_name_in_any_case_and_number_of_arguments() {
        assert_eq!(Function::find("length", 1), Some(Function::Length));
        assert_eq!(Function::find("Concat_Ws", 1), Some(Function::ConcatWs));
        assert_eq!(Function::find("CONCAT", 0), Some(Function::Concat));
        assert_eq!(Function::find("SUBSTRING", 3), Some(Function::Substring));
        for (name, arguments) in [
            ("LENGTH", 0),
            ("LENGTH", 2),
            ("CONCAT_WS", 0),
            ("SUBSTRING", 1),
            ("SUBSTRING", 4),
            ("LEN", 1),
        ] {
            assert_eq!(Function::find(name, arguments), None, "{name}/{arguments}");
        }
    }

    #[test]
    fn a_piece_of_borrowed_text_is_borrowed() {
        let whole = || Value::String(Cow::Borrowed(" \u{e9}abc "));
        let rows = [
            (Function::Trim, vec![whole()], "\u{e9}abc"),
            (Function::Left, vec![whole(), Value::Integer(2)], " \u{e9}"),
            (Function::Right, vec![whole(), Value::Integer(3)], "bc "),
            (Function::Substring, vec![whole(), Value::Integer(-5), Value::Integer(2)], "\u{e9}a"),
        ];
        for (function, arguments, expected) in rows {
            let called = function.call(arguments).unwrap();
            assert!(
                matches!(&called, Value::String(Cow::Borrowed(found)) if *found == expected),
                "{function:?}: {called:?}"
            );
        }
    }

    #[test]
    fn what_is_put_together_has_a_limit() {
        let half = || Value::String("x".repeat(TEXT_BYTES_MAX / 2).into());
        assert!(Function::Concat.call(vec![half(), half()]).is_ok());
        let (stand_in, error) =
            Function::ConcatWs.call(vec![text(","), half(), half()]).unwrap_err();
        assert_eq!(stand_in, text(""));
        assert_eq!(error.to_string(), "CONCAT_WS: expected a result of at most 65536 bytes");
    }
}
