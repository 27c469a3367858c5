//! NOT, AND, OR, XOR: their tables of truth and what they leave unevaluated.

use crate::Expected::B;
use crate::Fault::{Cast, Math, MissingAttribute, MissingFunction};
use crate::Given::{Number, Text, Truth};
use crate::check;

#[test]
fn tables_of_truth() {
    check(&[
        ("TRUE AND TRUE", &[], B(true), &[]),
        ("TRUE AND FALSE", &[], B(false), &[]),
        ("FALSE AND TRUE", &[], B(false), &[]),
        ("FALSE AND FALSE", &[], B(false), &[]),
        ("TRUE OR TRUE", &[], B(true), &[]),
        ("TRUE OR FALSE", &[], B(true), &[]),
        ("FALSE OR TRUE", &[], B(true), &[]),
        ("FALSE OR FALSE", &[], B(false), &[]),
        ("TRUE XOR TRUE", &[], B(false), &[]),
        ("TRUE XOR FALSE", &[], B(true), &[]),
        ("FALSE XOR TRUE", &[], B(true), &[]),
        ("FALSE XOR FALSE", &[], B(false), &[]),
        ("true aNd true", &[], B(true), &[]),
        ("false Or true", &[], B(true), &[]),
        ("true xor true", &[], B(false), &[]),
    ]);
}

#[test]
fn not_negates_whatever_can_be_a_boolean() {
    check(&[
        ("NOT TRUE", &[], B(false), &[]),
        ("NOT FALSE", &[], B(true), &[]),
        ("not not TRUE", &[], B(true), &[]),
        ("NOT 'TRUE'", &[], B(false), &[]),
        ("NOT 'false'", &[], B(true), &[]),
        ("NOT 10", &[], B(false), &[]),
        ("NOT 0", &[], B(true), &[]),
        ("NOT (1 = 2)", &[], B(true), &[]),
        ("NOT b", &[("b", Truth(true))], B(false), &[]),
        ("NOT b", &[("b", Number(0))], B(true), &[]),
        ("NOT 'no'", &[], B(false), &[Cast]),
        ("NOT absent", &[], B(false), &[MissingAttribute]),
        ("NOT (absent = 1)", &[], B(false), &[MissingAttribute]),
    ]);
}

#[test]
fn operands_are_cast_to_booleans() {
    check(&[
        ("'true' AND 1", &[], B(true), &[]),
        ("-1 AND 'TRUE'", &[], B(true), &[]),
        ("0 OR 'false'", &[], B(false), &[]),
        ("'true' XOR 0", &[], B(true), &[]),
        ("b AND TRUE", &[("b", Text("True"))], B(true), &[]),
        ("'yes' AND TRUE", &[], B(false), &[Cast]),
        ("TRUE AND 'yes'", &[], B(false), &[Cast]),
        ("FALSE OR 'yes'", &[], B(false), &[Cast]),
        ("'yes' XOR TRUE", &[], B(false), &[Cast]),
        ("'yes' XOR 'no'", &[], B(false), &[Cast, Cast]),
        ("id OR FALSE", &[], B(false), &[Cast]),
    ]);
}

#[test]
fn what_cannot_matter_is_not_evaluated() {
    check(&[
        ("FALSE AND 1 / 0", &[], B(false), &[]),
        ("FALSE AND (1 != 1 / 0)", &[], B(false), &[]),
        ("TRUE OR (1 != 1 / 0)", &[], B(true), &[]),
        ("TRUE OR absent", &[], B(true), &[]),
        ("FALSE AND absent", &[], B(false), &[]),
        ("TRUE OR NOSUCH()", &[], B(true), &[]),
        ("FALSE AND absent AND gone", &[], B(false), &[]),
        ("TRUE OR absent OR gone", &[], B(true), &[]),
        ("FALSE AND absent OR TRUE", &[], B(true), &[]),
    ]);
}

#[test]
fn what_matters_is_evaluated_with_its_errors() {
    check(&[
        ("TRUE AND (1 != 1 / 0)", &[], B(false), &[Math]),
        ("FALSE OR (1 != 1 / 0)", &[], B(false), &[Math]),
        ("TRUE AND absent", &[], B(false), &[MissingAttribute]),
        ("FALSE OR absent", &[], B(false), &[MissingAttribute]),
        ("TRUE AND (absent = '')", &[], B(false), &[MissingAttribute]),
        ("TRUE XOR absent", &[], B(false), &[MissingAttribute]),
        ("absent XOR TRUE", &[], B(false), &[MissingAttribute]),
        ("TRUE AND NOSUCH()", &[], B(false), &[MissingFunction]),
    ]);
}

#[test]
fn a_left_operand_that_failed_stands_as_false_and_spoils_the_result() {
    check(&[
        ("absent AND gone", &[], B(false), &[MissingAttribute]),
        ("absent AND 1 / 0", &[], B(false), &[MissingAttribute]),
        ("absent OR TRUE", &[], B(false), &[MissingAttribute]),
        ("absent OR 1 / 0", &[], B(false), &[MissingAttribute, Math]),
        ("(absent = 1) OR TRUE", &[], B(false), &[MissingAttribute]),
        ("absent OR TRUE OR TRUE", &[], B(false), &[MissingAttribute]),
    ]);
}
