//! The functions that cast, and those that tell whether a cast would succeed.

use crate::Expected::{B, I, S};
use crate::Fault::{Cast, Math};
use crate::Given::{Number, Text};
use crate::check;

#[test]
fn int_casts_to_an_integer() {
    check(&[
        ("INT('7')", &[], I(7), &[]),
        ("INT('-7')", &[], I(-7), &[]),
        ("INT('+7')", &[], I(7), &[]),
        ("INT(7)", &[], I(7), &[]),
        ("INT(-7)", &[], I(-7), &[]),
        ("INT(TRUE)", &[], I(1), &[]),
        ("INT(FALSE)", &[], I(0), &[]),
        ("int(e)", &[("e", Text("12"))], I(12), &[]),
        ("INT('seven')", &[], I(0), &[Cast]),
        ("INT('')", &[], I(0), &[Cast]),
        ("INT('7.0')", &[], I(0), &[Cast]),
        ("INT('2147483648')", &[], I(0), &[Cast]),
        ("INT('-2147483648')", &[], I(i32::MIN), &[]),
    ]);
}

#[test]
fn bool_casts_to_a_boolean() {
    check(&[
        ("BOOL('TRUE')", &[], B(true), &[]),
        ("BOOL(\"False\")", &[], B(false), &[]),
        ("BOOL(TRUE)", &[], B(true), &[]),
        ("BOOL(FALSE)", &[], B(false), &[]),
        ("BOOL(1)", &[], B(true), &[]),
        ("BOOL(0)", &[], B(false), &[]),
        ("BOOL(-100)", &[], B(true), &[]),
        ("bool(e)", &[("e", Number(3))], B(true), &[]),
        ("BOOL('1')", &[], B(false), &[Cast]),
        ("BOOL('truth')", &[], B(false), &[Cast]),
        ("BOOL('')", &[], B(false), &[Cast]),
    ]);
}

#[test]
fn string_casts_to_text() {
    check(&[
        ("STRING(TRUE)", &[], S("true"), &[]),
        ("STRING(FALSE)", &[], S("false"), &[]),
        ("STRING(7)", &[], S("7"), &[]),
        ("STRING(-007)", &[], S("-7"), &[]),
        ("STRING('x')", &[], S("x"), &[]),
        ("string(e)", &[("e", Number(-2))], S("-2"), &[]),
        ("STRING(1 / 0)", &[], S(""), &[Math]),
    ]);
}

#[test]
fn a_cast_can_be_tried_first() {
    check(&[
        ("IS_INT('7')", &[], B(true), &[]),
        ("IS_INT('seven')", &[], B(false), &[]),
        ("IS_INT(7)", &[], B(true), &[]),
        ("IS_INT(TRUE)", &[], B(true), &[]),
        ("is_int(e)", &[("e", Text("x"))], B(false), &[]),
        ("IS_BOOL('TRUE')", &[], B(true), &[]),
        ("IS_BOOL('yes')", &[], B(false), &[]),
        ("IS_BOOL(FALSE)", &[], B(true), &[]),
        ("IS_BOOL(3)", &[], B(true), &[]),
        ("IS_INT(e) AND e > 5", &[("e", Text("x"))], B(false), &[]),
        ("IS_INT(1 / 0)", &[], B(false), &[Math]),
    ]);
}
