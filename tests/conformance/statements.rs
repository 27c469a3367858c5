//! Every normative statement of both specifications, in our own words, with whom it binds.

use std::fmt;

/// MQTT 3.1.1 appendix B, one statement a line: number | whom it binds | what it demands. A fourth
/// column says why no test here can show it.
const MQTT_3_1_1: &str = include_str!("statements-3.1.1.txt");
/// MQTT 5.0 appendix B, in the same form.
const MQTT_5: &str = include_str!("statements-5.txt");

/// Whom a statement binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    Server,
    Client,
    Both,
}

/// The name of a statement, as tests cite it: `MQTT3:3.1.2-24` or `MQTT5:3.1.2-24`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id(pub(crate) String);

impl fmt::Display for Id {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// One normative statement.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    pub(crate) id: Id,
    pub(crate) bound: Bound,
    pub(crate) demand: &'static str,
    /// Why no test shows it.
    pub(crate) untested: Option<&'static str>,
}

/// The statements of a specification, in its order.
pub(crate) fn of(specification: &str) -> Vec<Statement> {
    let table = match specification {
        "MQTT3" => MQTT_3_1_1,
        "MQTT5" => MQTT_5,
        other => panic!("expected MQTT3 or MQTT5, found {other}"),
    };
    let rows = table.lines().filter(|line| !line.is_empty());
    rows.map(|line| parse(specification, line)).collect()
}

fn parse(specification: &str, line: &'static str) -> Statement {
    let mut columns = line.split('|').map(str::trim);
    let mut column = || columns.next().unwrap_or_else(|| panic!("{line} has too few columns"));
    let (number, bound, demand) = (column(), column(), column());
    let bound = match bound {
        "server" => Bound::Server,
        "client" => Bound::Client,
        "both" => Bound::Both,
        other => panic!("{line}: expected server, client or both, found {other}"),
    };
    Statement {
        id: Id(format!("{specification}:{number}")),
        bound,
        demand,
        untested: columns.next(),
    }
}
