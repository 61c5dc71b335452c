//! Answers: a status, a media type, a body, and the headers that every answer carries.

use askama::Template;
use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header},
};
use serde::Serialize;

use crate::page::error::Problem;

/// Nothing but our own files may be loaded, framed or sent to; there are no inline scripts or styles.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self' data:; script-src 'self'; \
                      connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'";

const ON_EVERY_ANSWER: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=()",
    ),
];

pub(crate) const HTML: &str = "text/html; charset=utf-8";
pub(crate) const JSON: &str = "application/json";
pub(crate) const PLAIN: &str = "text/plain; charset=utf-8";

pub(crate) type Answer = Response<Body>;

/// Sets the headers that every answer carries.
pub(crate) fn harden(headers: &mut HeaderMap) {
    for (name, value) in ON_EVERY_ANSWER {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-cache"));
}

/// A whole answer.
pub(crate) fn answer(kind: &'static str, body: impl Into<Body>) -> Answer {
    let mut answer = Response::new(body.into());
    answer
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// A page, or word of the trouble in making it.
pub(crate) fn page(template: &impl Template) -> Result<Answer, Problem> {
    match template.render() {
        Ok(text) => Ok(answer(HTML, text)),
        Err(error) => {
            tracing::warn!(%error, "a page could not be rendered");
            Err(Problem::broken())
        }
    }
}

/// A value as JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<Answer, Problem> {
    match serde_json::to_vec(value) {
        Ok(bytes) => Ok(answer(JSON, bytes)),
        Err(error) => {
            tracing::warn!(%error, "a value could not be written as JSON");
            Err(Problem::broken())
        }
    }
}

/// An answer of this status.
pub(crate) fn with_status(mut answer: Answer, status: u16) -> Answer {
    *answer.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer
}

/// Sends the reader to another page of this gateway. `path` begins with one slash and is made of
/// slugs and ids.
pub(crate) fn redirect(path: &str) -> Result<Answer, Problem> {
    let mut answer = answer(PLAIN, format!("{path}\n"));
    *answer.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    let path = HeaderValue::from_str(path).map_err(|_| Problem::no_page())?;
    answer.headers_mut().insert(header::LOCATION, path);
    Ok(answer)
}
