//! LIKE and NOT LIKE.

use crate::Expected::B;
use crate::Fault::{Math, MissingAttribute, MissingFunction};
use crate::Given::{Number, Text, Truth};
use crate::check;

#[test]
fn a_pattern_without_wildcards_is_the_text_itself() {
    check(&[
        ("'plum' LIKE 'plum'", &[], B(true), &[]),
        ("'plum' LIKE 'plu'", &[], B(false), &[]),
        ("'plu' LIKE 'plum'", &[], B(false), &[]),
        ("'plum' LIKE 'Plum'", &[], B(false), &[]),
        ("'' LIKE ''", &[], B(true), &[]),
        ("'' LIKE 'plum'", &[], B(false), &[]),
        ("'plum' LIKE ''", &[], B(false), &[]),
        ("'plum' NOT LIKE 'plum'", &[], B(false), &[]),
        ("'plum' not like 'pear'", &[], B(true), &[]),
        (r"'pl\um' LIKE 'pl\um'", &[], B(true), &[]),
        ("'p.*' LIKE 'p.*'", &[], B(true), &[]),
        ("'plum' LIKE 'p.*'", &[], B(false), &[]),
        ("'plum' LIKE \"plum\"", &[], B(true), &[]),
    ]);
}

#[test]
fn a_percent_sign_is_any_text() {
    check(&[
        ("'plum' LIKE '%'", &[], B(true), &[]),
        ("'' LIKE '%'", &[], B(true), &[]),
        ("'' LIKE '%%'", &[], B(true), &[]),
        ("'plum' LIKE 'p%'", &[], B(true), &[]),
        ("'plum' LIKE '%m'", &[], B(true), &[]),
        ("'plum' LIKE 'p%m'", &[], B(true), &[]),
        ("'pm' LIKE 'p%m'", &[], B(true), &[]),
        ("'p' LIKE 'p%p'", &[], B(false), &[]),
        ("'plum' LIKE '%lu%'", &[], B(true), &[]),
        ("'plum' LIKE '%ul%'", &[], B(false), &[]),
        ("'plum' LIKE 'p%l%u%m'", &[], B(true), &[]),
        ("'p%m' LIKE 'p%m'", &[], B(true), &[]),
        ("'plums' LIKE 'p%m'", &[], B(false), &[]),
        ("'.a.bc.' LIKE '.%.%.'", &[], B(true), &[]),
        ("'a.bc' LIKE '.%.%.'", &[], B(false), &[]),
        ("'abab' LIKE '%ab'", &[], B(true), &[]),
        ("'mississippi' LIKE '%iss%ip%'", &[], B(true), &[]),
        ("'mississippi' LIKE '%iss%iss%iss%'", &[], B(false), &[]),
        ("'two\nlines' LIKE 'two%'", &[], B(true), &[]),
    ]);
}

#[test]
fn an_underscore_is_any_one_character() {
    check(&[
        ("'plum' LIKE 'pl_m'", &[], B(true), &[]),
        ("'plm' LIKE 'pl_m'", &[], B(false), &[]),
        ("'pluum' LIKE 'pl_m'", &[], B(false), &[]),
        ("'pl_m' LIKE 'pl_m'", &[], B(true), &[]),
        ("'plum' LIKE '____'", &[], B(true), &[]),
        ("'plum' LIKE '___'", &[], B(false), &[]),
        ("'' LIKE '_'", &[], B(false), &[]),
        ("'\u{e9}' LIKE '_'", &[], B(true), &[]),
        ("'plum' LIKE '_l%'", &[], B(true), &[]),
        ("'plum' LIKE '%_u_'", &[], B(true), &[]),
        ("'plum' LIKE '%l_m%'", &[], B(true), &[]),
        ("'plum' LIKE '%p_m%'", &[], B(false), &[]),
        ("'ab' LIKE '_b%'", &[], B(true), &[]),
        ("'abcd1' LIKE '_b%'", &[], B(true), &[]),
        ("'b' LIKE '_b%'", &[], B(false), &[]),
        ("'acd' LIKE '_b%'", &[], B(false), &[]),
        ("'aBc' LIKE '_b%'", &[], B(false), &[]),
    ]);
}

#[test]
fn escaped_wildcards_stand_for_themselves() {
    check(&[
        (r"'5%' LIKE '5\%'", &[], B(true), &[]),
        (r"'55' LIKE '5\%'", &[], B(false), &[]),
        (r"'5%' NOT LIKE '5\%'", &[], B(false), &[]),
        (r"'a_b' LIKE 'a\_b'", &[], B(true), &[]),
        (r"'axb' LIKE 'a\_b'", &[], B(false), &[]),
        (r"'ab' LIKE 'a\_b'", &[], B(false), &[]),
        (r"'100% sure' LIKE '100\%%'", &[], B(true), &[]),
        (r"'it\'s' LIKE 'it\'_'", &[], B(true), &[]),
        (r"e LIKE 'pre%mid\%dle\_e_d'", &[("e", Text("pre-x-mid%dle_e2d"))], B(true), &[]),
        (r"e NOT LIKE 'pre%mid\%dle\_e_d'", &[("e", Text("pre-x-mid%dle_e2d"))], B(false), &[]),
    ]);
}

#[test]
fn the_left_operand_is_cast_to_text() {
    check(&[
        ("456 LIKE '45_'", &[], B(true), &[]),
        ("4566 LIKE '45%'", &[], B(true), &[]),
        ("4566 LIKE '45_'", &[], B(false), &[]),
        ("-4 LIKE '-_'", &[], B(true), &[]),
        ("TRUE LIKE 'tr%'", &[], B(true), &[]),
        ("TRUE LIKE 'TR%'", &[], B(false), &[]),
        ("FALSE LIKE '%lse'", &[], B(true), &[]),
        ("FALSE LIKE 'tr%'", &[], B(false), &[]),
        ("n LIKE '1_'", &[("n", Number(12))], B(true), &[]),
        ("b LIKE 't%'", &[("b", Truth(true))], B(true), &[]),
        ("(4 * 5) LIKE '2_'", &[], B(true), &[]),
    ]);
}

#[test]
fn the_filters_of_subscriptions_can_be_written_with_it() {
    check(&[
        ("source LIKE 'https://%'", &[("source", Text("https://a.test"))], B(true), &[]),
        ("source LIKE 'https://%'", &[("source", Text("http://a.test"))], B(false), &[]),
        ("type like '%.failed'", &[("type", Text("job.failed"))], B(true), &[]),
        ("type like '%.failed'", &[("type", Text("job.done"))], B(false), &[]),
        (
            "type LIKE 'job.%' AND source LIKE '%/eu'",
            &[("type", Text("job.done")), ("source", Text("/shop/eu"))],
            B(true),
            &[],
        ),
        (
            "(id = '1' OR type LIKE '%.ok') AND (id = '2' OR type LIKE 'a.%')",
            &[("id", Text("1")), ("type", Text("a.b"))],
            B(true),
            &[],
        ),
        (
            "(id = '1' AND type LIKE '%.ok') OR (id = '2' AND type LIKE 'a.%')",
            &[("id", Text("2")), ("type", Text("b.ok"))],
            B(false),
            &[],
        ),
        ("e LIKE 'x%'", &[], B(false), &[MissingAttribute]),
        ("e NOT LIKE 'x%'", &[], B(false), &[MissingAttribute]),
        ("type LIKE 'test%' AND e LIKE 'x%'", &[], B(false), &[MissingAttribute]),
        ("type LIKE 'best%' OR e LIKE 'x%'", &[], B(false), &[MissingAttribute]),
        ("type LIKE 'test%' OR e LIKE 'x%'", &[], B(true), &[]),
        ("(1 / 0) LIKE '0'", &[], B(false), &[Math]),
        ("NOSUCH() LIKE 'false'", &[], B(false), &[MissingFunction]),
    ]);
}
