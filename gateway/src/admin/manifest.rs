//! Manifests as management clients send them, and what becomes of them.

use async_graphql::{
    Context, Enum, ErrorExtensions as _, InputObject, Json, Object, Result, SimpleObject, Value,
};
use eg_auth::policy::{Action, Area, Request, Resource};
use eg_event::InvalidInput;
use serde_json::json;

use super::error::{Code, coded, forbidden, invalid, registry};
use super::guard::Caller;
use super::schema::Parts;
use super::specs::error::rejected;
use crate::dispatch::change::Effect;
use crate::manifest::apply::{self, Applied, ApplyError, Target};
use crate::manifest::{Difference, FILES_MAX, Fault, Faults, File};
use crate::specs::error::Rejected;

/// A file with manifests.
#[derive(InputObject)]
pub struct ManifestFileInput {
    /// What errors call it.
    name: String,
    /// YAML, of which it may have several documents, or JSON.
    text: String,
}

/// What becomes of a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum ManifestChange {
    /// It is made.
    Created,
    /// It is changed.
    Updated,
    /// It is as the manifest says.
    Unchanged,
}

/// A field that is changed.
#[derive(Clone, Debug, SimpleObject)]
pub struct FieldChange {
    /// The field, as manifests name it.
    field: &'static str,
    /// What it was.
    from: Json<serde_json::Value>,
    /// What it is.
    to: Json<serde_json::Value>,
}

/// What became of a manifest, or would.
#[derive(Clone, Debug, SimpleObject)]
pub struct AppliedManifest {
    /// The file.
    file: String,
    /// The line where it begins.
    line: usize,
    kind: &'static str,
    /// What operations know it by.
    key: String,
    change: ManifestChange,
    /// The fields that are changed.
    fields: Vec<FieldChange>,
}

impl From<Applied> for AppliedManifest {
    fn from(applied: Applied) -> Self {
        let Applied { manifest, effect, differences } = applied;
        let fields = differences.into_iter().map(|Difference { field, from, to }| FieldChange {
            field,
            from: Json(from),
            to: Json(to),
        });
        Self {
            file: manifest.place.file().to_owned(),
            line: manifest.place.line(),
            kind: manifest.asked.kind(),
            key: manifest.asked.key(),
            change: match effect {
                Effect::Created => ManifestChange::Created,
                Effect::Updated(()) => ManifestChange::Updated,
                Effect::Unchanged => ManifestChange::Unchanged,
            },
            fields: fields.collect(),
        }
    }
}

/// What can be done with manifests.
pub struct ManifestMutation(pub(super) Parts);

#[Object]
impl ManifestMutation {
    /// Makes everything as the manifests say, or, when anything is wrong with any of them, changes
    /// nothing. What no manifest asks for stays. A dry run only says what would change.
    async fn apply_manifests(
        &self,
        ctx: &Context<'_>,
        r#in: Vec<ManifestFileInput>,
        #[graphql(default)] dry_run: bool,
    ) -> Result<Vec<AppliedManifest>> {
        if r#in.len() > FILES_MAX {
            let expected = format!("expected at most {FILES_MAX} files");
            return Err(invalid(&InvalidInput::new("in", expected)));
        }
        let files = r#in.into_iter().map(|ManifestFileInput { name, text }| File { name, text });
        let files: Vec<_> = files.collect();
        let Parts { dispatch, check_target, specs, .. } = &self.0;
        let may_register = self.may_register(ctx);
        let target = Target { dispatch, check_target, specs, may_register };
        match apply::apply(target, &files, dry_run).await {
            Ok(applied) => Ok(applied.into_iter().map(AppliedManifest::from).collect()),
            Err(ApplyError::Faults(faults)) => Err(faulty(&faults)),
            Err(ApplyError::Registry(error)) => Err(registry(error)),
            Err(ApplyError::Forbidden(why)) => Err(forbidden(&why)),
            Err(ApplyError::Specs(error)) => {
                Err(rejected(Rejected { place: None, error }, |_| String::new()))
            }
        }
    }
}

impl ManifestMutation {
    /// Whether who asks may change applications and definitions.
    fn may_register(&self, ctx: &Context<'_>) -> Result<(), String> {
        let caller = ctx.data_opt::<Caller>().ok_or("nobody asks")?;
        let subject = (&*caller.principal).into();
        let resource = Resource::of(Area::Specs);
        let request = Request { subject, action: Action::Manage, resource };
        self.0.policy.load().check(&request).map_err(|why| why.to_string())
    }
}

/// All faults, for people in the message and for programs in `extensions`.
fn faulty(faults: &Faults) -> async_graphql::Error {
    let told = faults.faults.iter().map(|Fault { file, line, column, field, expected }| {
        json!({ "file": file, "line": line, "column": column, "field": field, "message": expected })
    });
    let told = Value::from_json(told.collect()).unwrap_or_default();
    let error = coded(Code::InvalidData, &faults.to_string());
    error.extend_with(|_, extensions| extensions.set("faults", told.clone()))
}
