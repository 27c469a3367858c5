//! The operators over integers: + - * / % and the sign.

use crate::Expected::I;
use crate::Fault::{Cast, Math, MissingAttribute};
use crate::Given::{Number, Text, Truth};
use crate::check;

#[test]
fn sums_products_and_quotients() {
    check(&[
        ("4 + 3", &[], I(7), &[]),
        ("4 - 3", &[], I(1), &[]),
        ("4 * 3", &[], I(12), &[]),
        ("-4 + 3", &[], I(-1), &[]),
        ("4 + -3", &[], I(1), &[]),
        ("4 - -3", &[], I(7), &[]),
        ("-4 - 3", &[], I(-7), &[]),
        ("-4 + -3", &[], I(-7), &[]),
        ("4-3", &[], I(1), &[]),
        ("4 -3", &[], I(1), &[]),
        ("4--3", &[], I(7), &[]),
        ("4+3", &[], I(7), &[]),
        ("n-1", &[("n", Number(8))], I(7), &[]),
    ]);
}

#[test]
fn quotients_are_truncated_and_remainders_have_the_sign_of_the_dividend() {
    check(&[
        ("8 / 3", &[], I(2), &[]),
        ("-8 / 3", &[], I(-2), &[]),
        ("8 / -3", &[], I(-2), &[]),
        ("-8 / -3", &[], I(2), &[]),
        ("8 % 3", &[], I(2), &[]),
        ("-8 % 3", &[], I(-2), &[]),
        ("8 % -3", &[], I(2), &[]),
        ("-8 % -3", &[], I(-2), &[]),
        ("0 / 3", &[], I(0), &[]),
        ("2 / 3", &[], I(0), &[]),
    ]);
}

#[test]
fn a_calculation_without_a_result_is_zero_and_an_error() {
    check(&[
        ("8 / 0", &[], I(0), &[Math]),
        ("8 % 0", &[], I(0), &[Math]),
        ("0 / 0", &[], I(0), &[Math]),
        ("2147483647 + 1", &[], I(0), &[Math]),
        ("-2147483648 - 1", &[], I(0), &[Math]),
        ("65536 * 65536", &[], I(0), &[Math]),
        ("-2147483648 / -1", &[], I(0), &[Math]),
        ("-2147483648 % -1", &[], I(0), &[]),
        ("2147483647 + -1", &[], I(2_147_483_646), &[]),
        ("-(-2147483648)", &[], I(0), &[Math]),
        ("1 + 8 / 0", &[], I(0), &[Math]),
        ("1 / 0 + 1 / 0", &[], I(0), &[Math, Math]),
    ]);
}

#[test]
fn operands_are_cast_to_integers() {
    check(&[
        ("'4' + 3", &[], I(7), &[]),
        ("4 + '3'", &[], I(7), &[]),
        ("'4' * '3'", &[], I(12), &[]),
        ("'-4' + '+3'", &[], I(-1), &[]),
        ("4 + TRUE", &[], I(5), &[]),
        ("4 * FALSE", &[], I(0), &[]),
        ("n + 1", &[("n", Text("41"))], I(42), &[]),
        ("n + 1", &[("n", Number(41))], I(42), &[]),
        ("n + 1", &[("n", Truth(true))], I(2), &[]),
        ("'4a' + 3", &[], I(0), &[Cast]),
        ("3 + '4a'", &[], I(0), &[Cast]),
        ("'a' * 'b'", &[], I(0), &[Cast, Cast]),
        ("'' + 3", &[], I(0), &[Cast]),
        ("' 4' + 3", &[], I(0), &[Cast]),
        ("'2147483648' + 0", &[], I(0), &[Cast]),
        ("n + 1", &[("n", Text("many"))], I(0), &[Cast]),
    ]);
}

#[test]
fn a_sign_negates_whatever_can_be_an_integer() {
    check(&[
        ("-5", &[], I(-5), &[]),
        ("--5", &[], I(5), &[]),
        ("---5", &[], I(-5), &[]),
        ("- 5", &[], I(-5), &[]),
        ("-'5'", &[], I(-5), &[]),
        ("--'5'", &[], I(5), &[]),
        ("-TRUE", &[], I(-1), &[]),
        ("-FALSE", &[], I(0), &[]),
        ("-(2 + 3)", &[], I(-5), &[]),
        ("-+5", &[], I(-5), &[]),
        ("-n", &[("n", Number(5))], I(-5), &[]),
        ("-n", &[("n", Text("-5"))], I(5), &[]),
        ("-'five'", &[], I(0), &[Cast]),
        ("-absent", &[], I(0), &[MissingAttribute]),
    ]);
}

#[test]
fn a_missing_operand_is_not_a_zero() {
    check(&[
        ("absent / 0", &[], I(0), &[MissingAttribute]),
        ("absent % 0", &[], I(0), &[MissingAttribute]),
        ("1 / absent", &[], I(0), &[MissingAttribute]),
        ("absent * 5", &[], I(0), &[MissingAttribute]),
        ("5 + absent", &[], I(0), &[MissingAttribute]),
        ("absent + 5 + 6", &[], I(0), &[MissingAttribute]),
        ("absent - gone", &[], I(0), &[MissingAttribute, MissingAttribute]),
    ]);
}
