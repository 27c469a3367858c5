//! Applications and definitions for facts.

use std::collections::BTreeMap;
use std::sync::Arc;

use eg_event::Timestamp;

use super::Declared;
use crate::specs::definition::{
    Application, ApplicationLimits, Definition, PayloadCheck, SpecFormat, SpecText,
};

/// When everything was registered.
pub(crate) const AT: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

/// An application.
pub(crate) fn application(name: &str) -> Arc<Application> {
    Arc::new(Application {
        id: format!("id-{name}"),
        name: name.to_owned(),
        description: None,
        provider_name: None,
        labels: BTreeMap::new(),
        limits: ApplicationLimits::default(),
        created_at: AT,
        updated_at: AT,
    })
}

/// A definition whose name is its id.
pub(crate) fn definition(application: &str, name: &str, text: &str) -> Definition {
    Definition {
        id: name.to_owned(),
        application_id: format!("id-{application}"),
        name: name.to_owned(),
        description: None,
        group: None,
        version: None,
        spec: SpecText {
            data: Some(text.to_owned()),
            format: SpecFormat::Yaml,
            fetch_request: None,
            references: BTreeMap::new(),
        },
        auth: None,
        external_subscriptions: Vec::new(),
        payload_check: PayloadCheck::Reject,
        created_at: AT,
        updated_at: AT,
    }
}

/// What definitions of the applications `shop` and `bank` come to.
pub(crate) fn compiled(definitions: Vec<Definition>) -> Declared {
    let applications = ["shop", "bank"].map(application);
    let definitions: Vec<_> = definitions.into_iter().map(Arc::new).collect();
    Declared::compile(&applications, &definitions).unwrap()
}
