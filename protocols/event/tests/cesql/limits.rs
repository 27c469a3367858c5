//! Limits, and that no text and no expression makes anything panic.

use eg_event::cesql::{DEPTH_MAX, EXPRESSION_BYTES_MAX, Expression, Value};
use proptest::prelude::*;

use crate::Given::{Number, Text, Truth};
use crate::event;

#[test]
fn an_expression_has_a_length_limit() {
    let fits = format!("'{}'", "x".repeat(EXPRESSION_BYTES_MAX - 2));
    assert!(Expression::parse(&fits).is_ok());
    let error = Expression::parse(&format!(" {fits}")).unwrap_err();
    assert_eq!(error.expected, "at most 16384 bytes");
}

#[test]
fn an_expression_has_a_depth_limit_however_it_nests() {
    // The opening, what stands innermost, the closing; and how many levels fit.
    let rows = [
        ("(", "1", ")", DEPTH_MAX),
        ("NOT ", "1", "", DEPTH_MAX - 1),
        ("-", "a", "", DEPTH_MAX - 1),
        ("ABS(", "1", ")", DEPTH_MAX - 1),
        ("1 IN (", "1", ")", DEPTH_MAX - 1),
        ("1 + (", "1", ")", DEPTH_MAX - 1),
        ("", "a", " LIKE 'x'", DEPTH_MAX - 1),
        ("", "a", " IN (1)", DEPTH_MAX - 1),
        ("(", "a", " LIKE 'x')", DEPTH_MAX - 1),
    ];
    let nested = |(open, inner, close, _): &(&str, &str, &str, usize), levels: usize| {
        format!("{}{inner}{}", open.repeat(levels), close.repeat(levels))
    };
    for row in &rows {
        let expression = Expression::parse(&nested(row, row.3));
        assert!(expression.is_ok(), "{row:?}: {expression:?}");
        drop(expression.unwrap().evaluate(&event(&[("a", Number(1))])).value);
        for levels in [row.3 + 1, row.3 * 2, 800] {
            let error = Expression::parse(&nested(row, levels)).unwrap_err();
            assert_eq!(error.expected, "at most 64 levels", "{row:?} {levels} times");
        }
    }
}

#[test]
fn operators_side_by_side_are_one_level() {
    let sum = vec!["1"; 5_000].join("+");
    let expression = Expression::parse(&sum).unwrap();
    assert_eq!(expression.evaluate(&event(&[])).value, Value::Integer(5_000));
    let alternatives: Vec<String> = (0..900).map(|n| format!("id = '{n}'")).collect();
    let expression = Expression::parse(&alternatives.join(" OR ")).unwrap();
    assert!(expression.lets_pass(&event(&[("id", Text("899"))])));
    assert!(!expression.lets_pass(&event(&[("id", Text("900"))])));
}

#[test]
fn texts_that_grow_are_cut_off_with_an_error() {
    let calls = format!("CONCAT({})", vec!["long"; 3_000].join(","));
    let long: &'static str = Box::leak("x".repeat(100).into_boxed_str());
    let event = event(&[("long", Text(long))]);
    let expression = Expression::parse(&calls).unwrap();
    let evaluation = expression.evaluate(&event);
    assert_eq!(evaluation.value, Value::String("".into()));
    assert_eq!(
        evaluation.errors[0].to_string(),
        "CONCAT: expected a result of at most 65536 bytes"
    );
}

/// Pieces of the language, so that chance puts together expressions and what is nearly one.
const PIECES: [&str; 40] = [
    "1",
    "-2",
    "+3",
    "0",
    "2147483647",
    "-2147483648",
    "'a'",
    "\"7\"",
    "'true'",
    "''",
    "TRUE",
    "false",
    "id",
    "e",
    "n",
    "b",
    "absent",
    "(",
    ")",
    "(",
    ")",
    ",",
    "+",
    "-",
    "*",
    "/",
    "%",
    "=",
    "!=",
    "<",
    ">=",
    "AND",
    "OR",
    "XOR",
    "NOT",
    "LIKE 'a%'",
    "IN (1, 'a')",
    "EXISTS e",
    "SUBSTRING(",
    "ABS(",
];

/// An expression of the language, in full parentheses.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(
        &[
            "1",
            "-2",
            "0",
            "2147483647",
            "-2147483648",
            "'a'",
            "'7'",
            "'TRUE'",
            "''",
            "TRUE",
            "FALSE",
            "id",
            "e",
            "n",
            "b",
            "absent",
            "EXISTS e",
            "NOSUCH(1)",
        ][..],
    );
    leaf.prop_map(str::to_owned)
        .prop_recursive(4, 40, 3, |inner| {
            let binary = prop::sample::select(
                &[
                    "+", "-", "*", "/", "%", "=", "!=", "<>", "<", "<=", ">", ">=", "AND", "OR",
                    "XOR",
                ][..],
            );
            let unary = prop::sample::select(&["NOT ", "-"][..]);
            let call = prop::sample::select(
                &[
                    "LENGTH",
                    "CONCAT",
                    "CONCAT_WS",
                    "LEFT",
                    "RIGHT",
                    "SUBSTRING",
                    "ABS",
                    "INT",
                    "BOOL",
                    "STRING",
                    "IS_INT",
                    "IS_BOOL",
                    "TRIM",
                    "UPPER",
                ][..],
            );
            prop_oneof![
                (inner.clone(), binary, inner.clone())
                    .prop_map(|(l, o, r)| format!("({l} {o} {r})")),
                (unary, inner.clone()).prop_map(|(o, x)| format!("({o}({x}))")),
                inner.clone().prop_map(|x| format!("({x} LIKE '%a_%')")),
                (inner.clone(), inner.clone()).prop_map(|(x, y)| format!("({x} NOT IN ({y}, 1))")),
                (call, prop::collection::vec(inner, 0..4))
                    .prop_map(|(name, list)| format!("{name}({})", list.join(", "))),
            ]
        })
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,200}") {
        drop(Expression::parse(&text));
    }

    #[test]
    fn no_mixture_of_pieces_makes_anything_panic(
        pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..24),
    ) {
        if let Ok(expression) = Expression::parse(&pieces.join(" ")) {
            let event = event(&[("e", Text("7")), ("n", Number(i32::MIN)), ("b", Truth(true))]);
            let evaluation = expression.evaluate(&event);
            let passes = evaluation.errors.is_empty() && evaluation.value.to_boolean() == Some(true);
            prop_assert_eq!(expression.lets_pass(&event), passes);
        }
    }

    #[test]
    fn every_expression_is_read_and_has_a_value(source in expression()) {
        let expression = Expression::parse(&source).unwrap();
        let event = event(&[("e", Text("7")), ("n", Number(i32::MIN)), ("b", Truth(true))]);
        let evaluation = expression.evaluate(&event);
        let passes = evaluation.errors.is_empty() && evaluation.value.to_boolean() == Some(true);
        prop_assert_eq!(expression.lets_pass(&event), passes);
        // White space and parentheses around it change nothing.
        let wrapped = Expression::parse(&format!("\t({source})\n")).unwrap();
        let again = wrapped.evaluate(&event);
        prop_assert_eq!(again.value, evaluation.value);
        prop_assert_eq!(again.errors, evaluation.errors);
    }
}
