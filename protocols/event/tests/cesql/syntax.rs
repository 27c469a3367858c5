//! What is not of the language, and how that is told.

use eg_event::cesql::Expression;

/// A text, the column of the error, what was expected there, and what was found.
type Row = (&'static str, usize, &'static str, &'static str);

fn check(rows: &[Row]) {
    for (source, column, expected, found) in rows {
        let error = Expression::parse(source).unwrap_err();
        assert_eq!(
            (error.column, &*error.expected, &*error.found),
            (*column, *expected, *found),
            "{source}"
        );
    }
}

#[test]
fn an_operand_or_an_operator_that_is_missing_is_told_with_its_place() {
    check(&[
        ("", 1, "an expression", "the end"),
        ("   ", 4, "an expression", "the end"),
        ("type =", 7, "an expression", "the end"),
        ("type == 'a'", 7, "an expression", "\"=\""),
        ("= 'a'", 1, "an expression", "\"=\""),
        ("a b", 3, "an operator or the end", "\"b\""),
        ("'a' 'b'", 5, "an operator or the end", "\"'b'\""),
        ("'a''b'", 4, "an operator or the end", "\"'b'\""),
        ("1 2", 3, "an operator or the end", "\"2\""),
        ("(1", 3, "an operator or )", "the end"),
        ("(1, 2)", 3, "an operator or )", "\",\""),
        ("1)", 2, "an operator or the end", "\")\""),
        ("()", 2, "an expression", "\")\""),
    ]);
}

#[test]
fn calls_lists_and_keywords_say_what_belongs_to_them() {
    check(&[
        ("ABC(", 5, "an expression", "the end"),
        ("ABC(1", 6, "an operator, a comma or )", "the end"),
        ("ABC(1 2)", 7, "an operator, a comma or )", "\"2\""),
        ("ABC(1,)", 7, "an expression", "\")\""),
        ("ABC(,1)", 5, "an expression", "\",\""),
        ("ABC)", 4, "an operator or the end", "\")\""),
        ("a IN ()", 7, "an expression", "\")\""),
        ("a IN 'b'", 6, "( and a list after IN", "\"'b'\""),
        ("a IN ('b'", 10, "an operator, a comma or )", "the end"),
        ("a NOT b", 7, "LIKE or IN after NOT", "\"b\""),
        ("a NOT", 6, "LIKE or IN after NOT", "the end"),
        ("a LIKE 12", 8, "a pattern in quotes", "\"12\""),
        ("a LIKE b", 8, "a pattern in quotes", "\"b\""),
        ("a LIKE CONCAT('b')", 8, "a pattern in quotes", "\"CONCAT\""),
        ("a LIKE", 7, "a pattern in quotes", "the end"),
        ("EXISTS", 7, "an attribute name after EXISTS", "the end"),
        ("EXISTS 'a'", 8, "an attribute name after EXISTS", "\"'a'\""),
        ("EXISTS (a)", 8, "an attribute name after EXISTS", "\"(\""),
        ("EXISTS true", 8, "an attribute name after EXISTS", "\"true\""),
        ("NOT", 4, "an expression", "the end"),
        ("AND TRUE", 1, "an expression", "\"AND\""),
        ("TRUE AND", 9, "an expression", "the end"),
        ("TRUE AND OR TRUE", 10, "an expression", "\"OR\""),
        ("1 +", 4, "an expression", "the end"),
        ("+ 1", 3, "digits right behind +", "\"1\""),
        ("+a", 2, "digits right behind +", "\"a\""),
        ("+'1'", 2, "digits right behind +", "\"'1'\""),
    ]);
}

#[test]
fn names_numbers_and_texts_have_their_forms() {
    check(&[
        ("2147483648", 1, "an integer from -2147483648 to 2147483647", "\"2147483648\""),
        ("- 2147483648", 3, "an integer from -2147483648 to 2147483647", "\"2147483648\""),
        ("1 = -2147483649", 5, "an integer from -2147483648 to 2147483647", "\"-\""),
        ("my_ext = 1", 1, "an attribute name of letters and digits", "\"my_ext\""),
        ("EXISTS my_ext", 8, "an attribute name of letters and digits", "\"my_ext\""),
        ("F1(2)", 1, "a function name of letters and _", "\"F1\""),
        ("_F(2)", 1, "a literal, a name or an operator", "\"_\""),
        ("'abc", 5, "a closing '", "the end"),
        ("\"abc'", 6, "a closing \"", "the end"),
        (r"'abc\'", 7, "a closing '", "the end"),
        ("a ! b", 3, "a literal, a name or an operator", "\"!\""),
        ("a; b", 2, "a literal, a name or an operator", "\";\""),
        ("a.b", 2, "a literal, a name or an operator", "\".\""),
        ("1.5", 2, "a literal, a name or an operator", "\".\""),
        ("'\u{e9}' = \u{e9}", 7, "a literal, a name or an operator", "\"\u{e9}\""),
        ("a\u{a0}= 1", 2, "a literal, a name or an operator", "\"\\u{a0}\""),
    ]);
}

#[test]
fn functions_that_do_not_exist_are_told_apart_from_errors_of_syntax() {
    let rows = [
        ("LENGTH(id) = 1", None),
        (
            "TRUE OR NOSUCH(1, 2)",
            Some(
                "column 9: expected a function of CESQL 1.0 that takes 2 arguments, found \"NOSUCH\"",
            ),
        ),
        (
            "Length() = OTHER()",
            Some(
                "column 1: expected a function of CESQL 1.0 that takes 0 arguments, found \"Length\"",
            ),
        ),
    ];
    for (source, expected) in rows {
        let checked = Expression::parse(source).unwrap().check_functions();
        let found = checked.map_err(|error| error.to_string());
        assert_eq!(found.err().as_deref(), expected, "{source}");
    }
}

#[test]
fn an_expression_keeps_its_text() {
    let source = " type  like 'a%' ";
    let expression = Expression::parse(source).unwrap();
    assert_eq!(expression.source(), source);
    assert_eq!(expression.to_string(), source);
    assert_eq!(expression, expression.clone());
    assert_ne!(expression, Expression::parse("type like 'a%'").unwrap());
}
