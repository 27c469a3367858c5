//! = != <> < <= > >= and the casts of their operands.

use crate::Expected::B;
use crate::Fault::{Cast, Math, MissingAttribute};
use crate::Given::{Number, Text, Truth};
use crate::check;

#[test]
fn equality_is_of_values() {
    check(&[
        ("TRUE = TRUE", &[], B(true), &[]),
        ("TRUE = FALSE", &[], B(false), &[]),
        ("FALSE = FALSE", &[], B(true), &[]),
        ("3 = 3", &[], B(true), &[]),
        ("3 = 4", &[], B(false), &[]),
        ("'x' = 'x'", &[], B(true), &[]),
        ("'x' = 'y'", &[], B(false), &[]),
        ("'x' = \"x\"", &[], B(true), &[]),
        ("'x' = 'X'", &[], B(false), &[]),
        ("'' = ''", &[], B(true), &[]),
        ("'x' = 'x '", &[], B(false), &[]),
    ]);
}

#[test]
fn inequality_has_two_signs() {
    check(&[
        ("TRUE != TRUE", &[], B(false), &[]),
        ("TRUE != FALSE", &[], B(true), &[]),
        ("3 != 3", &[], B(false), &[]),
        ("3 != 4", &[], B(true), &[]),
        ("'x' != 'x'", &[], B(false), &[]),
        ("'x' != 'X'", &[], B(true), &[]),
        ("TRUE <> TRUE", &[], B(false), &[]),
        ("TRUE <> FALSE", &[], B(true), &[]),
        ("3 <> 3", &[], B(false), &[]),
        ("3 <> 4", &[], B(true), &[]),
        ("'x' <> 'x'", &[], B(false), &[]),
        ("'x' <> 'y'", &[], B(true), &[]),
    ]);
}

#[test]
fn order_is_of_integers() {
    check(&[
        ("3 < 4", &[], B(true), &[]),
        ("3 < 3", &[], B(false), &[]),
        ("4 < 3", &[], B(false), &[]),
        ("3 <= 3", &[], B(true), &[]),
        ("4 <= 3", &[], B(false), &[]),
        ("4 > 3", &[], B(true), &[]),
        ("3 > 3", &[], B(false), &[]),
        ("3 >= 3", &[], B(true), &[]),
        ("3 >= 4", &[], B(false), &[]),
        ("-4 < 3", &[], B(true), &[]),
        ("-2147483648 < 2147483647", &[], B(true), &[]),
        ("'10' > '9'", &[], B(true), &[]),
        ("'10' < 9", &[], B(false), &[]),
        ("FALSE < TRUE", &[], B(true), &[]),
        ("'a' < 1", &[], B(false), &[Cast]),
        ("'a' < 'b'", &[], B(false), &[Cast, Cast]),
        ("1 >= 'b'", &[], B(false), &[Cast]),
    ]);
}

#[test]
fn the_left_operand_takes_the_type_of_the_right() {
    check(&[
        ("'TRUE' = TRUE", &[], B(true), &[]),
        ("TRUE = 'TRUE'", &[], B(false), &[]),
        ("TRUE = 'true'", &[], B(true), &[]),
        ("FALSE = 'false'", &[], B(true), &[]),
        ("'03' = 3", &[], B(true), &[]),
        ("3 = '03'", &[], B(false), &[]),
        ("3 = '3'", &[], B(true), &[]),
        ("1 = TRUE", &[], B(true), &[]),
        ("2 = TRUE", &[], B(true), &[]),
        ("TRUE = 2", &[], B(false), &[]),
        ("TRUE = 1", &[], B(true), &[]),
        ("FALSE = 0", &[], B(true), &[]),
        ("'x' = 3", &[], B(false), &[Cast]),
        ("'x' != 3", &[], B(false), &[Cast]),
        ("'x' <> TRUE", &[], B(false), &[Cast]),
        ("3 = 'x'", &[], B(false), &[]),
        ("3 != 'x'", &[], B(true), &[]),
        ("n = 5", &[("n", Text("5"))], B(true), &[]),
        ("n = 5", &[("n", Text("05"))], B(true), &[]),
        ("n = 5", &[("n", Text("6"))], B(false), &[]),
        ("n = '5'", &[("n", Number(5))], B(true), &[]),
        ("b = 'true'", &[("b", Truth(true))], B(true), &[]),
        ("b", &[("b", Truth(true))], B(true), &[]),
        ("hop < ttl", &[("hop", Text("5")), ("ttl", Text("10"))], B(true), &[]),
        ("hop < ttl", &[("hop", Number(11)), ("ttl", Text("10"))], B(false), &[]),
    ]);
}

#[test]
fn a_comparison_with_something_that_failed_is_false() {
    check(&[
        ("absent = 2", &[], B(false), &[MissingAttribute]),
        ("absent != 2", &[], B(false), &[MissingAttribute]),
        ("absent <> 2", &[], B(false), &[MissingAttribute]),
        ("absent < 2", &[], B(false), &[MissingAttribute]),
        ("absent <= 2", &[], B(false), &[MissingAttribute]),
        ("absent > 2", &[], B(false), &[MissingAttribute]),
        ("absent >= 2", &[], B(false), &[MissingAttribute]),
        ("absent = ''", &[], B(false), &[MissingAttribute]),
        ("absent = FALSE", &[], B(false), &[MissingAttribute]),
        ("2 = absent", &[], B(false), &[MissingAttribute]),
        ("absent = gone", &[], B(false), &[MissingAttribute, MissingAttribute]),
        ("0 = 1 / 0", &[], B(false), &[Math]),
        ("1 != 1 / 0", &[], B(false), &[Math]),
    ]);
}
