//! Which operator takes which operand, where no parentheses say it.

use crate::Expected::{B, I};
use crate::Fault::{Cast, MissingAttribute};
use crate::Given::{Number, Text};
use crate::check;

#[test]
fn parentheses_come_first() {
    check(&[
        ("(TRUE)", &[], B(true), &[]),
        ("((7))", &[], I(7), &[]),
        ("4 * (2 + 3)", &[], I(20), &[]),
        ("(2 + 3) * 4", &[], I(20), &[]),
        ("4 * (2 + 4) / 2", &[], I(12), &[]),
        ("10 - (4 - 3)", &[], I(9), &[]),
        ("TRUE AND (FALSE OR TRUE)", &[], B(true), &[]),
    ]);
}

#[test]
fn products_before_sums_before_comparisons_before_logic() {
    check(&[
        ("4 * 2 + 4 / 2", &[], I(10), &[]),
        ("2 + 3 * 4", &[], I(14), &[]),
        ("20 - 6 % 4", &[], I(18), &[]),
        ("1 + 1 = 2", &[], B(true), &[]),
        ("2 = 1 + 1", &[], B(true), &[]),
        ("2 * 3 >= 2 + 3", &[], B(true), &[]),
        ("1 = 1 AND 2 = 3", &[], B(false), &[]),
        ("1 < 2 OR 1 > 2", &[], B(true), &[]),
        ("TRUE = FALSE XOR TRUE", &[], B(true), &[]),
    ]);
}

#[test]
fn operators_of_one_precedence_go_from_left_to_right() {
    check(&[
        ("10 - 4 - 3", &[], I(3), &[]),
        ("10 - 4 + 3", &[], I(9), &[]),
        ("24 / 4 / 3", &[], I(2), &[]),
        ("24 / 4 * 3", &[], I(18), &[]),
        ("24 % 10 * 3", &[], I(12), &[]),
        ("3 > 2 > 1", &[], B(false), &[]),
        ("1 = 1 = 1", &[], B(true), &[]),
        ("1 = 2 = FALSE", &[], B(true), &[]),
        ("FALSE AND TRUE OR TRUE", &[], B(true), &[]),
        ("TRUE OR FALSE AND FALSE", &[], B(false), &[]),
        ("TRUE OR TRUE XOR TRUE", &[], B(false), &[]),
        ("TRUE XOR TRUE OR TRUE", &[], B(true), &[]),
        ("FALSE AND absent XOR TRUE", &[], B(true), &[]),
    ]);
}

#[test]
fn unary_operators_take_the_nearest_operand() {
    check(&[
        ("-n + 3", &[("n", Number(2))], I(1), &[]),
        ("-n * 3", &[("n", Number(2))], I(-6), &[]),
        ("3 - -n", &[("n", Number(2))], I(5), &[]),
        ("NOT FALSE AND FALSE", &[], B(false), &[]),
        ("NOT TRUE OR TRUE", &[], B(true), &[]),
        ("NOT TRUE = FALSE", &[], B(true), &[]),
        ("NOT 1 = 2", &[], B(false), &[]),
        ("NOT TRUE LIKE 'fal%'", &[], B(true), &[]),
        ("NOT id LIKE 'event%'", &[], B(false), &[Cast]),
        ("NOT TRUE IN (FALSE)", &[], B(true), &[]),
        ("-2 IN (-2)", &[], B(true), &[]),
        ("-n LIKE '-2'", &[("n", Text("2"))], B(true), &[]),
        ("NOT -1", &[], B(false), &[]),
        ("-NOT TRUE", &[], I(0), &[]),
        ("NOT EXISTS absent AND TRUE", &[], B(true), &[]),
        ("NOT absent = 1", &[], B(false), &[MissingAttribute]),
    ]);
}

#[test]
fn like_and_in_before_arithmetic() {
    check(&[
        ("1 + 2 LIKE '2'", &[], I(2), &[]),
        ("2 * 3 IN (3)", &[], I(2), &[]),
        ("'a' LIKE 'a' = TRUE", &[], B(true), &[]),
        ("1 IN (1) AND 2 IN (3)", &[], B(false), &[]),
        ("TRUE = 'a' LIKE 'a'", &[], B(true), &[]),
        ("'a' LIKE 'a' IN (TRUE)", &[], B(true), &[]),
        ("1 IN (1) LIKE 'true'", &[], B(true), &[]),
        ("1 IN (1) IN (TRUE)", &[], B(true), &[]),
        ("EXISTS id LIKE 'true'", &[], B(true), &[]),
        ("EXISTS id IN (TRUE)", &[], B(true), &[]),
        ("'a' LIKE 'a' NOT LIKE 'false'", &[], B(true), &[]),
        ("LENGTH('ab') IN (2)", &[], B(true), &[]),
    ]);
}
