//! Attributes: their values and types, EXISTS, and what comes of a missing one.

use crate::Expected::{B, I, S};
use crate::Fault::{Cast, MissingAttribute};
use crate::Given::{Number, Text, Truth};
use crate::check;

#[test]
fn attributes_that_cloudevents_defines_are_text() {
    check(&[
        ("id", &[("id", Text("42"))], S("42"), &[]),
        ("source", &[("source", Text("https://a.test/s"))], S("https://a.test/s"), &[]),
        ("type", &[("type", Text("a.b"))], S("a.b"), &[]),
        ("specversion", &[], S("1.0"), &[]),
        ("specversion = '1.0'", &[], B(true), &[]),
        ("subject", &[("subject", Text("s1"))], S("s1"), &[]),
        ("datacontenttype", &[("datacontenttype", Text("text/xml"))], S("text/xml"), &[]),
        ("dataschema", &[("dataschema", Text("https://a.test/x"))], S("https://a.test/x"), &[]),
        (
            "time",
            &[("time", Text("2024-06-13T10:00:00.10+02:00"))],
            S("2024-06-13T10:00:00.10+02:00"),
            &[],
        ),
        ("LEFT(time, 4) = 2024", &[("time", Text("2024-06-13T10:00:00Z"))], B(true), &[]),
        ("id + 1", &[("id", Text("41"))], I(42), &[]),
    ]);
}

#[test]
fn extensions_have_the_type_that_the_event_gives_them() {
    check(&[
        ("e", &[("e", Text("any text"))], S("any text"), &[]),
        ("e", &[("e", Text("7"))], S("7"), &[]),
        ("e", &[("e", Number(7))], I(7), &[]),
        ("e", &[("e", Number(-7))], I(-7), &[]),
        ("e", &[("e", Truth(true))], B(true), &[]),
        ("e", &[("e", Truth(false))], B(false), &[]),
        ("e = 7", &[("e", Number(7))], B(true), &[]),
        ("e AND TRUE", &[("e", Truth(true))], B(true), &[]),
        ("4you", &[("4you", Text("x"))], S("x"), &[]),
        ("e2e", &[("e2e", Text("x"))], S("x"), &[]),
        ("1e5", &[("1e5", Text("x"))], S("x"), &[]),
        ("left", &[("left", Text("x"))], S("x"), &[]),
        ("int = 1", &[("int", Text("1"))], B(true), &[]),
        ("inn", &[("inn", Text("x"))], S("x"), &[]),
        ("notable AND orange", &[("notable", Truth(true)), ("orange", Truth(true))], B(true), &[]),
    ]);
}

#[test]
fn names_are_found_in_any_case() {
    check(&[
        ("ID", &[], S("event-1"), &[]),
        ("Type = 'test.run'", &[], B(true), &[]),
        ("myExt", &[("myext", Text("x"))], S("x"), &[]),
        ("EXISTS MyExt", &[("myext", Text("x"))], B(true), &[]),
    ]);
}

#[test]
fn exists_tells_whether_the_event_has_an_attribute() {
    check(&[
        ("EXISTS id", &[], B(true), &[]),
        ("EXISTS source", &[], B(true), &[]),
        ("EXISTS type", &[], B(true), &[]),
        ("EXISTS specversion", &[], B(true), &[]),
        ("EXISTS subject", &[], B(false), &[]),
        ("exists subject", &[("subject", Text("s"))], B(true), &[]),
        ("EXISTS time", &[], B(false), &[]),
        ("EXISTS time", &[("time", Text("2024-06-13T10:00:00Z"))], B(true), &[]),
        ("EXISTS datacontenttype", &[], B(false), &[]),
        ("EXISTS e", &[], B(false), &[]),
        ("EXISTS e", &[("e", Text("x"))], B(true), &[]),
        ("EXISTS e", &[("e", Number(0))], B(true), &[]),
        ("EXISTS e", &[("e", Truth(false))], B(true), &[]),
        ("EXISTS 007", &[("007", Text("x"))], B(true), &[]),
        ("EXISTS data", &[], B(false), &[]),
        ("NOT EXISTS e", &[], B(true), &[]),
        ("EXISTS e AND e = 'x'", &[], B(false), &[]),
        ("NOT EXISTS e OR e = 'x'", &[], B(true), &[]),
        ("NOT EXISTS e OR e = 'x'", &[("e", Text("x"))], B(true), &[]),
    ]);
}

#[test]
fn a_missing_attribute_is_an_error_and_the_zero_of_what_asks_for_it() {
    check(&[
        ("subject", &[], B(false), &[MissingAttribute]),
        ("absent", &[], B(false), &[MissingAttribute]),
        ("data", &[], B(false), &[MissingAttribute]),
        ("(absent)", &[], B(false), &[MissingAttribute]),
        ("TRUE AND (missingAttribute = '')", &[], B(false), &[MissingAttribute]),
        ("missingattribute * 5", &[], I(0), &[MissingAttribute]),
        ("1 / missingattribute", &[], I(0), &[MissingAttribute]),
        ("LENGTH(absent)", &[], I(0), &[MissingAttribute]),
        ("UPPER(absent)", &[], S(""), &[MissingAttribute]),
        ("CONCAT('a', absent, gone)", &[], S(""), &[MissingAttribute, MissingAttribute]),
        ("INT(absent)", &[], I(0), &[MissingAttribute]),
        ("STRING(absent)", &[], S(""), &[MissingAttribute]),
        ("IS_BOOL(absent)", &[], B(false), &[MissingAttribute]),
        ("LEFT(absent, 'x')", &[], S(""), &[MissingAttribute, Cast]),
    ]);
}

#[test]
fn the_examples_of_the_specification_hold() {
    check(&[
        (
            "int(hop) < int(ttl) and int(hop) < 1000",
            &[("hop", Text("5")), ("ttl", Text("10"))],
            B(true),
            &[],
        ),
        (
            "INT(hop) < INT(ttl) AND INT(hop) < 1000",
            &[("hop", Text("5")), ("ttl", Text("10"))],
            B(true),
            &[],
        ),
        ("TRUE = \"true\" AND FALSE = \"false\"", &[], B(true), &[]),
        ("TRUE = \"TRUE\" OR FALSE = \"FALSE\"", &[], B(false), &[]),
        ("sequence = 10", &[("sequence", Text("10"))], B(true), &[]),
        (
            "first = 'Ada' OR subject = 'Ada'",
            &[("first", Text("Eve")), ("subject", Text("Ada"))],
            B(true),
            &[],
        ),
        (
            "(first = 'Ada' AND last = 'King') OR subject = 'Ada King'",
            &[("first", Text("Ada")), ("last", Text("King"))],
            B(true),
            &[],
        ),
        (
            "(first = 'Ada' AND last = 'King') OR subject = 'Ada King'",
            &[("first", Text("Ada")), ("last", Text("Ng")), ("subject", Text("Ada King"))],
            B(true),
            &[],
        ),
        (
            "(first = 'Ada' AND last = 'King') OR subject = 'Ada King'",
            &[("first", Text("Ada")), ("last", Text("Ng"))],
            B(false),
            &[MissingAttribute],
        ),
    ]);
}
