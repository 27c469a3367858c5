//! The functions over texts and integers.

use crate::Expected::{B, I, S};
use crate::Fault::{Cast, FunctionEvaluation, Math, MissingFunction};
use crate::Given::{Number, Text};
use crate::check;

#[test]
fn length_counts_characters() {
    check(&[
        ("LENGTH('pear')", &[], I(4), &[]),
        ("LENGTH('')", &[], I(0), &[]),
        ("LENGTH('\u{e9}\u{1f600}')", &[], I(2), &[]),
        ("LENGTH(TRUE)", &[], I(4), &[]),
        ("LENGTH(-12)", &[], I(3), &[]),
        ("length(type)", &[], I(8), &[]),
        ("LeNgTh ('a')", &[], I(1), &[]),
    ]);
}

#[test]
fn concat_joins_any_number_of_texts() {
    check(&[
        ("CONCAT('p', 'ea', 'r')", &[], S("pear"), &[]),
        ("CONCAT()", &[], S(""), &[]),
        ("CONCAT('p')", &[], S("p"), &[]),
        ("CONCAT(1, TRUE, 'x')", &[], S("1truex"), &[]),
        ("CONCAT_WS('-', 'p', 'q', 'r')", &[], S("p-q-r"), &[]),
        ("CONCAT_WS('-', 'p')", &[], S("p"), &[]),
        ("CONCAT_WS('-')", &[], S(""), &[]),
        ("CONCAT_WS('', 'p', 'q')", &[], S("pq"), &[]),
        ("CONCAT_WS('-', '', '')", &[], S("-"), &[]),
        ("CONCAT_WS(0, 1, 2)", &[], S("102"), &[]),
        ("concat_ws('/', source, id)", &[], S("/tests/event-1"), &[]),
        ("CONCAT('a', 1 / 0)", &[], S(""), &[Math]),
    ]);
}

#[test]
fn case_and_white_space() {
    check(&[
        ("LOWER('PeAR')", &[], S("pear"), &[]),
        ("LOWER('pear')", &[], S("pear"), &[]),
        ("LOWER('\u{c9}')", &[], S("\u{e9}"), &[]),
        ("LOWER(TRUE)", &[], S("true"), &[]),
        ("UPPER('PeAr')", &[], S("PEAR"), &[]),
        ("UPPER('PEAR')", &[], S("PEAR"), &[]),
        ("UPPER(TRUE)", &[], S("TRUE"), &[]),
        ("UPPER('stra\u{df}e')", &[], S("STRASSE"), &[]),
        ("TRIM('  a b  ')", &[], S("a b"), &[]),
        ("TRIM('a b')", &[], S("a b"), &[]),
        ("TRIM('\t\u{a0}\u{3000}a\u{2003}\n')", &[], S("a"), &[]),
        ("TRIM('\u{0}\u{200b}a')", &[], S("\u{0}\u{200b}a"), &[]),
        ("TRIM('   ')", &[], S(""), &[]),
        ("TRIM(5)", &[], S("5"), &[]),
    ]);
}

#[test]
fn left_and_right_take_characters_from_the_ends() {
    check(&[
        ("LEFT('pear', 2)", &[], S("pe"), &[]),
        ("LEFT('pear', 4)", &[], S("pear"), &[]),
        ("LEFT('pear', 40)", &[], S("pear"), &[]),
        ("LEFT('pear', 0)", &[], S(""), &[]),
        ("LEFT('', 0)", &[], S(""), &[]),
        ("LEFT('\u{e9}t\u{e9}', 2)", &[], S("\u{e9}t"), &[]),
        ("LEFT('pear', '2')", &[], S("pe"), &[]),
        ("LEFT(1234, 2)", &[], S("12"), &[]),
        ("LEFT('pear', TRUE)", &[], S("p"), &[]),
        ("LEFT('pear', -2)", &[], S("pear"), &[FunctionEvaluation]),
        ("LEFT('pear', 'two')", &[], S(""), &[Cast]),
        ("RIGHT('pear', 2)", &[], S("ar"), &[]),
        ("RIGHT('pear', 4)", &[], S("pear"), &[]),
        ("RIGHT('pear', 40)", &[], S("pear"), &[]),
        ("RIGHT('pear', 0)", &[], S(""), &[]),
        ("RIGHT('', 0)", &[], S(""), &[]),
        ("RIGHT('\u{e9}t\u{e9}', 2)", &[], S("t\u{e9}"), &[]),
        ("RIGHT('pear', -2)", &[], S("pear"), &[FunctionEvaluation]),
        ("RIGHT('pear', -2147483648)", &[], S("pear"), &[FunctionEvaluation]),
        ("LEFT('true', -1) OR TRUE", &[], B(false), &[FunctionEvaluation]),
    ]);
}

#[test]
fn substring_counts_from_one_or_from_the_end() {
    check(&[
        ("SUBSTRING('orange', 1)", &[], S("orange"), &[]),
        ("SUBSTRING('orange', 3)", &[], S("ange"), &[]),
        ("SUBSTRING('orange', 6)", &[], S("e"), &[]),
        ("SUBSTRING('orange', -3)", &[], S("nge"), &[]),
        ("SUBSTRING('orange', -6)", &[], S("orange"), &[]),
        ("SUBSTRING('orange', 0)", &[], S(""), &[]),
        ("SUBSTRING('', 0)", &[], S(""), &[]),
        ("SUBSTRING('orange', 7)", &[], S(""), &[FunctionEvaluation]),
        ("SUBSTRING('orange', -7)", &[], S(""), &[FunctionEvaluation]),
        ("SUBSTRING('', 1)", &[], S(""), &[FunctionEvaluation]),
        ("SUBSTRING('orange', -2147483648)", &[], S(""), &[FunctionEvaluation]),
        ("SUBSTRING('\u{e9}t\u{e9}s', 2)", &[], S("t\u{e9}s"), &[]),
        ("SUBSTRING('orange', '3')", &[], S("ange"), &[]),
        ("SUBSTRING('orange', 'x')", &[], S(""), &[Cast]),
    ]);
}

#[test]
fn substring_may_have_a_length() {
    check(&[
        ("SUBSTRING('orange', 1, 6)", &[], S("orange"), &[]),
        ("SUBSTRING('orange', 2, 3)", &[], S("ran"), &[]),
        ("SUBSTRING('orange', 2, 60)", &[], S("range"), &[]),
        ("SUBSTRING('orange', 2, 0)", &[], S(""), &[]),
        ("SUBSTRING('orange', -4, 2)", &[], S("an"), &[]),
        ("SUBSTRING('orange', -1, 5)", &[], S("e"), &[]),
        ("SUBSTRING('orange', 0, 3)", &[], S(""), &[]),
        ("SUBSTRING('orange', 2, 2147483647)", &[], S("range"), &[]),
        ("SUBSTRING('orange', 9, 2)", &[], S(""), &[FunctionEvaluation]),
        ("SUBSTRING('orange', -9, 2)", &[], S(""), &[FunctionEvaluation]),
        ("SUBSTRING('orange', 2, -1)", &[], S(""), &[FunctionEvaluation]),
        ("SUBSTRING('orange', 0, -1)", &[], S(""), &[FunctionEvaluation]),
    ]);
}

#[test]
fn abs_is_the_absolute_value() {
    check(&[
        ("ABS(7)", &[], I(7), &[]),
        ("ABS(-7)", &[], I(7), &[]),
        ("ABS(0)", &[], I(0), &[]),
        ("ABS('-7')", &[], I(7), &[]),
        ("ABS(TRUE)", &[], I(1), &[]),
        ("abs(n)", &[("n", Number(-3))], I(3), &[]),
        ("ABS(-2147483648)", &[], I(i32::MAX), &[Math]),
        ("ABS(-2147483648) = 2147483647", &[], B(false), &[Math]),
        ("ABS('x')", &[], I(0), &[Cast]),
    ]);
}

#[test]
fn a_function_that_does_not_exist_is_false_and_an_error() {
    check(&[
        ("NOSUCH()", &[], B(false), &[MissingFunction]),
        ("NOSUCH(id)", &[], B(false), &[MissingFunction]),
        ("NOSUCH(absent, 1 / 0)", &[], B(false), &[MissingFunction]),
        ("CONCAT_WS()", &[], B(false), &[MissingFunction]),
        ("LENGTH()", &[], B(false), &[MissingFunction]),
        ("LENGTH('a', 'b')", &[], B(false), &[MissingFunction]),
        ("SUBSTRING('a')", &[], B(false), &[MissingFunction]),
        ("SUBSTRING('a', 1, 1, 1)", &[], B(false), &[MissingFunction]),
        ("ABS(1, 2)", &[], B(false), &[MissingFunction]),
        ("A_B__C_()", &[], B(false), &[MissingFunction]),
        ("NOSUCH() + 1", &[], I(0), &[MissingFunction]),
    ]);
}

#[test]
fn calls_nest_and_their_results_are_cast() {
    check(&[
        ("UPPER(LEFT('pear', 1))", &[], S("P"), &[]),
        ("CONCAT(LENGTH('pear') + 1, '!')", &[], S("5!"), &[]),
        ("LENGTH(e + 10)", &[("e", Text("90"))], I(3), &[]),
        ("RIGHT(source, 5) = 'tests'", &[], B(true), &[]),
        ("SUBSTRING(type, LENGTH('test.') + 1) IN ('run', 'stop')", &[], B(true), &[]),
        ("ABS(0 - LENGTH(type)) * 2", &[], I(16), &[]),
    ]);
}
