//! Casts from one type to another (CESQL 1.0, 3.7).

use std::borrow::Cow;

use super::value::{Kind, Value};

impl<'a> Value<'a> {
    /// As a Boolean: a number is true unless it is 0; text has to read `true` or `false`, in
    /// whatever case.
    #[must_use]
    pub fn to_boolean(&self) -> Option<bool> {
        match self {
            Self::Boolean(truth) => Some(*truth),
            Self::Integer(number) => Some(*number != 0),
            Self::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
            Self::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
            Self::String(_) => None,
        }
    }

    /// As an Integer: true is 1, false is 0; text has to be decimal digits, with or without a
    /// sign, that fit 32 bits.
    #[must_use]
    pub fn to_integer(&self) -> Option<i32> {
        match self {
            Self::Boolean(truth) => Some(i32::from(*truth)),
            Self::Integer(number) => Some(*number),
            Self::String(text) => text.parse().ok(),
        }
    }

    /// As a String: `true`, `false`, or the number in decimal digits.
    #[must_use]
    pub fn into_text(self) -> Cow<'a, str> {
        match self {
            Self::Boolean(true) => Cow::Borrowed("true"),
            Self::Boolean(false) => Cow::Borrowed("false"),
            Self::Integer(number) => Cow::Owned(number.to_string()),
            Self::String(text) => text,
        }
    }

    /// As a value of the type `kind`; the value itself when it has none.
    pub fn cast(self, kind: Kind) -> Result<Self, Self> {
        match kind {
            Kind::Boolean => self.to_boolean().map(Value::Boolean).ok_or(self),
            Kind::Integer => self.to_integer().map(Value::Integer).ok_or(self),
            Kind::String => Ok(Value::String(self.into_text())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value<'_> {
        Value::String(Cow::Borrowed(text))
    }

    #[test]
    fn text_is_a_boolean_only_as_one_of_two_words() {
        let rows = [
            ("true", Some(true)),
            ("TRUE", Some(true)),
            ("fAlSe", Some(false)),
            ("", None),
            ("1", None),
            (" true", None),
            ("yes", None),
        ];
        for (given, expected) in rows {
            assert_eq!(text(given).to_boolean(), expected, "{given:?}");
        }
    }

    #[test]
    fn text_is_an_integer_only_as_digits_that_fit() {
        let rows = [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("007", Some(7)),
            ("+12", Some(12)),
            ("-2147483648", Some(i32::MIN)),
            ("2147483647", Some(i32::MAX)),
            ("2147483648", None),
            ("-2147483649", None),
            ("", None),
            ("+", None),
            ("--1", None),
            (" 1", None),
            ("1.0", None),
            ("1e3", None),
            ("0x1f", None),
            ("\u{0661}", None),
        ];
        for (given, expected) in rows {
            assert_eq!(text(given).to_integer(), expected, "{given:?}");
        }
    }

    #[test]
    fn every_other_cast_succeeds() {
        assert_eq!(Value::Integer(-3).to_boolean(), Some(true));
        assert_eq!(Value::Integer(0).to_boolean(), Some(false));
        assert_eq!(Value::Boolean(true).to_integer(), Some(1));
        assert_eq!(Value::Boolean(false).to_integer(), Some(0));
        assert_eq!(Value::Boolean(true).into_text(), "true");
        assert_eq!(Value::Boolean(false).into_text(), "false");
        assert_eq!(Value::Integer(i32::MIN).into_text(), "-2147483648");
    }

    #[test]
    fn a_failed_cast_gives_the_value_back() {
        assert_eq!(text("x").cast(Kind::Integer), Err(text("x")));
        assert_eq!(text("x").cast(Kind::Boolean), Err(text("x")));
        assert_eq!(text("x").cast(Kind::String), Ok(text("x")));
    }
}
