//! From a file, the environment and the command line to a checked [`Config`].

use std::path::{Path, PathBuf};

use eg_auth::policy::{RuleConfig, RulesFile};
use toml::{Table, Value};

use super::Config;

/// What the names of overriding environment variables begin with.
const PREFIX: &str = "EVENT_GATEWAY__";

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: {cause}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
    /// The file, or a variable, does not fit.
    #[error("{origin}: {what}")]
    Unfit {
        /// The file or the variable.
        origin: String,
        /// What is wrong, with the nearest known key when one is unknown.
        what: String,
    },
    /// A setting makes no sense.
    #[error(transparent)]
    Invalid(#[from] eg_event::InvalidInput),
}

/// The environment of the process, as far as it is text.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text)
}

/// Reads `file` (the defaults when there is none), then lets `environment` override.
pub fn load(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Config, ConfigError> {
    let mut table = Table::new();
    if let Some(path) = file {
        let text = std::fs::read_to_string(path)
            .map_err(|cause| ConfigError::Unreadable { path: path.to_owned(), cause })?;
        let origin = path.display().to_string();
        // Read once as it stands, so that an error can point into the file.
        toml::from_str::<Config>(&text).map_err(|error| unfit(&origin, &error))?;
        table = toml::from_str(&text).map_err(|error| unfit(&origin, &error))?;
    }
    for (name, text) in environment {
        let Some(path) = name.strip_prefix(PREFIX) else { continue };
        let keys: Vec<_> = path.split("__").map(str::to_ascii_lowercase).collect();
        set(&mut table, &keys, value(&text))
            .and_then(|()| Config::deserialize_from(table.clone()))
            .map_err(|error| unfit(&name, &error))?;
    }
    Config::deserialize_from(table).map_err(|error| unfit("configuration", &error))
}

/// Reads the rules of a file of its own.
pub fn rules(path: &Path) -> Result<Vec<RuleConfig>, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|cause| ConfigError::Unreadable { path: path.to_owned(), cause })?;
    let file = toml::from_str::<RulesFile>(&text);
    Ok(file.map_err(|error| unfit(&path.display().to_string(), &error))?.rules)
}

impl Config {
    fn deserialize_from(table: Table) -> Result<Self, toml::de::Error> {
        table.try_into()
    }
}

/// A variable's text as TOML where it is that (numbers, booleans, lists), else as a string.
fn value(text: &str) -> Value {
    let parsed = toml::from_str::<Table>(&format!("value = {text}"));
    let parsed = parsed.ok().and_then(|mut table| table.remove("value"));
    parsed.unwrap_or_else(|| Value::String(text.to_owned()))
}

fn set(table: &mut Table, keys: &[String], value: Value) -> Result<(), toml::de::Error> {
    use serde::de::Error as _;
    match keys {
        [] => Err(toml::de::Error::custom("expected the name of a setting")),
        [key] => {
            table.insert(key.clone(), value);
            Ok(())
        }
        [section, rest @ ..] => {
            let inner = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            match inner {
                Value::Table(inner) => set(inner, rest, value),
                _ => Err(toml::de::Error::custom(format!("{section} is not a section"))),
            }
        }
    }
}

fn unfit(origin: &str, error: &toml::de::Error) -> ConfigError {
    let mut what = error.to_string().trim_end().to_owned();
    if let Some(hint) = nearest(error.message()) {
        what = format!("{what}\ndid you mean `{hint}`?");
    }
    ConfigError::Unfit { origin: origin.to_owned(), what }
}

/// The known key that is most like the unknown one which `message` names.
fn nearest(message: &str) -> Option<&str> {
    let unknown = ["unknown field ", "unknown variant "];
    let names = unknown.iter().find_map(|start| message.strip_prefix(start))?;
    let mut quoted = names.split('`').skip(1).step_by(2);
    let unknown = quoted.next()?;
    quoted
        .map(|known| (strsim::damerau_levenshtein(unknown, known), known))
        .filter(|(distance, known)| *distance <= known.len().max(unknown.len()) / 2)
        .min()
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_file(text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        load(Some(file.path()), environment)
    }

    #[test]
    fn the_environment_overrides_the_file() {
        let text = "dev = true\n[storage]\nretention_hours = 5\n";
        let environment = [
            ("EVENT_GATEWAY__STORAGE__RETENTION_HOURS", "7"),
            ("EVENT_GATEWAY__LISTEN__HTTP", "127.0.0.1:9"),
            ("OTHER", "x"),
        ];
        let config = from_file(text, &environment).unwrap();
        assert!(config.dev);
        assert_eq!(config.storage.retention_hours, 7);
        assert_eq!(config.listen.http.port(), 9);
        assert_eq!(config.listen.admin.port(), 8081);
        assert_eq!(load(None, []).unwrap(), Config::default());
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_known_one() {
        let error = from_file("[storage]\nretention_hour = 5\n", &[]).unwrap_err().to_string();
        assert!(
            error.contains("line 2") && error.contains("did you mean `retention_hours`?"),
            "{error}"
        );
        let error = from_file("", &[("EVENT_GATEWAY__STORAGE__RETENTION_BITES", "5")]).unwrap_err();
        let error = error.to_string();
        assert!(error.starts_with("EVENT_GATEWAY__STORAGE__RETENTION_BITES: "), "{error}");
        assert!(error.contains("did you mean `retention_bytes`?"), "{error}");
        let error = from_file("colour = 1\n", &[]).unwrap_err().to_string();
        assert!(
            error.contains("unknown field `colour`") && !error.contains("did you mean"),
            "{error}"
        );
    }

    #[test]
    fn values_of_the_wrong_kind_are_refused_by_key() {
        for text in ["[listen]\nhttp = \"nowhere\"", "dev = 3", "[storage]\nretention_hours = -1"] {
            assert!(from_file(text, &[]).is_err(), "{text}");
        }
        assert!(from_file("", &[("EVENT_GATEWAY__DEV__X", "1")]).is_err());
    }

    #[test]
    fn development_mode_is_for_loopback_alone() {
        let config = from_file("dev = true\n[listen]\nmqtt = \"0.0.0.0:1883\"", &[]).unwrap();
        assert_eq!(config.check().unwrap_err().field, "listen.mqtt");
        assert!(
            from_file("dev = true\n[listen]\nmqtt = \"[::1]:1883\"", &[]).unwrap().check().is_ok()
        );
    }
}
