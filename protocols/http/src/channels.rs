//! `POST /{application}/channels/{channel...}`: a payload that becomes the event which a registered
//! document declares for the channel.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use bytes::Bytes;
use eg_event::submission::{Binding, Submission};
use eg_event::{
    ChannelEvent, ChannelMessage, Channels, CloudEvent, Data, InvalidInput, RawPayload, Refusal,
    header, json,
};
use http::{Request, StatusCode, request};

use crate::acknowledge::{self, Problem};
use crate::authenticate::acts_for;
use crate::kyma::is_application;
use crate::normalize::{self, Mode};
use crate::publish::{Context, Publisher};
use crate::uuid::random_uuid;

/// Takes payloads for channels.
struct Channel {
    publisher: Arc<Publisher>,
    channels: Arc<dyn Channels>,
}

/// Where a request goes.
struct Target<'a> {
    application: &'a str,
    channel: String,
}

pub(crate) fn routes(publisher: Arc<Publisher>, channels: Arc<dyn Channels>) -> Router {
    let take = post(publish).fallback(async || Problem::method_not_allowed("POST"));
    Router::new()
        .route("/{application}/channels/{*channel}", take)
        .with_state(Arc::new(Channel { publisher, channels }))
}

async fn publish(State(channel): State<Arc<Channel>>, request: Request<Body>) -> Response {
    let (head, body) = request.into_parts();
    let taken = channel.take(&head, body).await;
    let mut response = taken.unwrap_or_else(Problem::into_response);
    acknowledge::echo_request_id(&head.headers, &mut response);
    response
}

impl Channel {
    async fn take(&self, head: &request::Parts, body: Body) -> Result<Response, Problem> {
        let target = Target::of(head.uri.path())?;
        let mut context = self.admit(head, &target).await?;
        let mode = normalize::mode(&head.headers)?;
        let body = self.publisher.bodies.read(&head.headers, body).await?;
        if self.publisher.is_outdated(&context) {
            context = self.admit(head, &target).await?;
        }
        let submission = match mode {
            Mode::Batch => {
                let text =
                    format!("expected one event, or a payload, not {}", json::BATCH_MEDIA_TYPE);
                let invalid = InvalidInput::new("content-type", text);
                return Err(Problem::of_field(StatusCode::UNSUPPORTED_MEDIA_TYPE, invalid));
            }
            Mode::Structured => context.submission(json::decode(&body)?, Binding::Structured),
            Mode::Binary(content_type) if head.headers.contains_key("ce-specversion") => {
                let event = normalize::binary(&head.headers, content_type, body)?;
                context.submission(event, Binding::Binary)
            }
            Mode::Binary(content_type) => self.declared(&context, &target, content_type, body)?,
        };
        Ok(acknowledge::one(self.publisher.ingest_one(submission).await))
    }

    /// Who sends a request, if they may act for the application.
    async fn admit(&self, head: &request::Parts, target: &Target<'_>) -> Result<Context, Problem> {
        let context = self.publisher.context(head).await?;
        if !acts_for(&context.principal, target.application) {
            let text = format!("application: expected a sender of {}", target.application);
            return Err(Refusal::Forbidden(text.into()).into());
        }
        Ok(context)
    }

    fn declared(
        &self,
        context: &Context,
        target: &Target<'_>,
        content_type: Option<&str>,
        body: Bytes,
    ) -> Result<Submission, Problem> {
        let raw = RawPayload {
            application: Some(target.application),
            address: &target.channel,
            principal: &context.principal,
            content_type,
            payload: &body,
        };
        let (event, binding, declaration) = match self.channels.find(&raw)? {
            None => {
                let text = format!("{} declares no such channel", target.application);
                return Err(Problem::new(StatusCode::NOT_FOUND, text));
            }
            Some(ChannelMessage::Event(declaration)) => {
                (json::decode(&body)?, Binding::Structured, declaration)
            }
            Some(ChannelMessage::Data(declared)) => {
                let event = event(&declared, content_type, body)?;
                (event, Binding::Channel, declared.declaration)
            }
        };
        let id_assigned = binding == Binding::Channel;
        let submission = context.submission(event, binding);
        Ok(Submission { declaration: Some(declaration), id_assigned, ..submission })
    }
}

impl<'a> Target<'a> {
    fn of(path: &'a str) -> Result<Self, Problem> {
        let mut parts = path.splitn(4, '/').skip(1);
        let application = parts.next().unwrap_or_default();
        if !is_application(application) {
            return Err(Problem::new(StatusCode::NOT_FOUND, "nothing is at this path"));
        }
        let channel = header::decode(parts.nth(1).unwrap_or_default().as_bytes());
        let channel = channel.map_err(|expected| {
            InvalidInput::new("channel", format!("expected {expected} in the path"))
        })?;
        Ok(Self { application, channel: channel.into_owned() })
    }
}

/// The event that a channel makes of a payload.
fn event(
    declared: &ChannelEvent,
    content_type: Option<&str>,
    body: Bytes,
) -> Result<CloudEvent, InvalidInput> {
    let mut builder = CloudEvent::builder();
    builder.implied_spec_version();
    builder.attribute("id", &random_uuid())?;
    let content_type = content_type.or(declared.datacontenttype.as_deref());
    let attributes = [
        ("source", Some(&*declared.source)),
        ("type", Some(&*declared.ty)),
        ("subject", Some(&*declared.subject)),
        ("datacontenttype", content_type),
        ("dataschema", declared.dataschema.as_deref()),
    ];
    for (name, text) in attributes {
        if let Some(text) = text {
            builder.attribute(name, text)?;
        }
    }
    if !body.is_empty() {
        builder.data(Data::from_body(content_type, body));
    }
    Ok(builder.build()?)
}
