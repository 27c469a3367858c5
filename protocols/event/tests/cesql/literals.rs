//! Literals: Booleans, integers, texts in quotes.

use crate::Expected::{B, I, S};
use crate::check;

#[test]
fn booleans_are_written_in_any_case() {
    check(&[
        ("TRUE", &[], B(true), &[]),
        ("true", &[], B(true), &[]),
        ("tRuE", &[], B(true), &[]),
        ("FALSE", &[], B(false), &[]),
        ("false", &[], B(false), &[]),
        ("fAlSe", &[], B(false), &[]),
    ]);
}

#[test]
fn integers_may_have_a_sign_and_fill_32_bits() {
    check(&[
        ("0", &[], I(0), &[]),
        ("1", &[], I(1), &[]),
        ("+1", &[], I(1), &[]),
        ("-1", &[], I(-1), &[]),
        ("007", &[], I(7), &[]),
        ("-0", &[], I(0), &[]),
        ("2147483647", &[], I(i32::MAX), &[]),
        ("+2147483647", &[], I(i32::MAX), &[]),
        ("-2147483648", &[], I(i32::MIN), &[]),
        (" \t\r\n42 \n", &[], I(42), &[]),
    ]);
}

#[test]
fn texts_stand_in_either_quotes_and_keep_their_case() {
    check(&[
        ("''", &[], S(""), &[]),
        (r#""""#, &[], S(""), &[]),
        ("'Straw Berry'", &[], S("Straw Berry"), &[]),
        (r#""Straw Berry""#, &[], S("Straw Berry"), &[]),
        ("' a '", &[], S(" a "), &[]),
        ("'TRUE'", &[], S("TRUE"), &[]),
        ("'12'", &[], S("12"), &[]),
        ("'id'", &[], S("id"), &[]),
        ("'\u{e9} \u{1f600}'", &[], S("\u{e9} \u{1f600}"), &[]),
        ("'two\nlines'", &[], S("two\nlines"), &[]),
    ]);
}

#[test]
fn a_backslash_escapes_the_quote_around_and_nothing_else() {
    check(&[
        (r"'it\'s'", &[], S("it's"), &[]),
        (r#""say \"hi\"""#, &[], S(r#"say "hi""#), &[]),
        (r#"'say "hi"'"#, &[], S(r#"say "hi""#), &[]),
        (r#""it's""#, &[], S("it's"), &[]),
        (r#"'\"'"#, &[], S(r#"\""#), &[]),
        (r#""\'""#, &[], S(r"\'"), &[]),
        (r"'a\nb'", &[], S(r"a\nb"), &[]),
        (r"'a\\'", &[], S(r"a\\"), &[]),
        (r"'\\\''", &[], S(r"\\'"), &[]),
    ]);
}
