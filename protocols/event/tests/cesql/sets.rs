//! IN and NOT IN.

use crate::Expected::B;
use crate::Fault::{Cast, Math, MissingAttribute};
use crate::Given::{Number, Text, Truth};
use crate::check;

#[test]
fn a_set_holds_what_is_equal_to_one_of_its_elements() {
    check(&[
        ("12 IN (1, 2, 12)", &[], B(true), &[]),
        ("12 IN (1, 2)", &[], B(false), &[]),
        ("12 NOT IN (1, 2, 12)", &[], B(false), &[]),
        ("12 not in (1, 2)", &[], B(true), &[]),
        ("'b' IN ('a', \"b\")", &[], B(true), &[]),
        ("'B' IN ('a', 'b')", &[], B(false), &[]),
        ("TRUE IN (FALSE, TRUE)", &[], B(true), &[]),
        ("TRUE IN (FALSE)", &[], B(false), &[]),
        ("3 IN (1 + 1, 1 + 2)", &[], B(true), &[]),
        ("'3'IN(3)", &[], B(true), &[]),
        ("id IN ('event-0', 'event-1')", &[], B(true), &[]),
        ("id IN (source, type)", &[], B(false), &[]),
        ("source IN (e, 'x')", &[("e", Text("/tests"))], B(true), &[]),
        ("source NOT IN (e, 'x')", &[("e", Text("/tests"))], B(false), &[]),
    ]);
}

#[test]
fn elements_take_the_type_of_the_left_operand() {
    check(&[
        ("'true' IN (TRUE, 'false')", &[], B(true), &[]),
        ("'true' IN ('TRUE', 'false')", &[], B(false), &[]),
        ("TRUE IN ('TRUE', 'false')", &[], B(true), &[]),
        ("'TRUE' IN (TRUE, 'false')", &[], B(false), &[]),
        ("1 IN ('01', '2')", &[], B(true), &[]),
        ("'1' IN (1, 2)", &[], B(true), &[]),
        ("'01' IN (1, 2)", &[], B(false), &[]),
        ("1 IN (FALSE, TRUE)", &[], B(true), &[]),
        ("TRUE IN (0, 7)", &[], B(true), &[]),
        ("n IN ('4', '5')", &[("n", Number(5))], B(true), &[]),
        ("n IN (4, 5)", &[("n", Text("5"))], B(true), &[]),
        ("b IN ('TRUE')", &[("b", Truth(true))], B(true), &[]),
    ]);
}

#[test]
fn an_element_that_fails_before_a_match_spoils_the_result() {
    check(&[
        ("1 IN ('one', 2)", &[], B(false), &[Cast]),
        ("1 NOT IN ('one', 2)", &[], B(false), &[Cast]),
        ("1 IN ('one', 1)", &[], B(false), &[Cast]),
        ("1 IN (1, 'one')", &[], B(true), &[]),
        ("1 IN (1, absent)", &[], B(true), &[]),
        ("1 IN (absent, 1)", &[], B(false), &[MissingAttribute]),
        ("1 IN (2, absent)", &[], B(false), &[MissingAttribute]),
        ("1 IN (absent, 'one', 1 / 0)", &[], B(false), &[MissingAttribute, Cast, Math]),
        ("TRUE IN ('yes')", &[], B(false), &[Cast]),
        ("absent IN ('')", &[], B(false), &[MissingAttribute]),
        ("absent NOT IN ('')", &[], B(false), &[MissingAttribute]),
        ("absent IN (gone)", &[], B(false), &[MissingAttribute]),
    ]);
}
