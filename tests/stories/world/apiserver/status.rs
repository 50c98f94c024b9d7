//! Errors as the API server words them.

use super::kind::Kind;
use serde_json::{Value, json};

/// A `metav1.Status` of kind Failure.
#[derive(Clone, Debug)]
pub struct Failure {
    /// HTTP status.
    pub code: u16,
    /// Machine-readable reason.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// `details`
    pub details: Value,
}

impl Failure {
    /// Any failure without details.
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: Value::Null }
    }

    fn about(code: u16, reason: &'static str, kind: &Kind, name: &str, message: String) -> Self {
        Self { code, reason, message, details: json!({"name": name, "group": kind.group, "kind": kind.plural}) }
    }

    /// 404 for an object.
    pub fn not_found(kind: &Kind, name: &str) -> Self {
        Self::about(404, "NotFound", kind, name, format!("{} \"{name}\" not found", kind.full_name()))
    }

    /// 404 for a path that nobody serves.
    pub fn no_such_resource() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource")
    }

    /// 405
    pub fn not_allowed(what: &str) -> Self {
        Self::new(405, "MethodNotAllowed", format!("{what} is not supported"))
    }

    /// 409 on creation.
    pub fn already_exists(kind: &Kind, name: &str) -> Self {
        Self::about(409, "AlreadyExists", kind, name, format!("{} \"{name}\" already exists", kind.full_name()))
    }

    /// 409 on update.
    pub fn conflict(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", kind.full_name());
        Self::about(409, "Conflict", kind, name, message)
    }

    /// 409 because the object was changed since it was read.
    pub fn stale(kind: &Kind, name: &str) -> Self {
        Self::conflict(
            kind,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 409 of server-side apply; `owned` pairs a manager with a field.
    pub fn apply_conflict(owned: &[(String, String)]) -> Self {
        let text: Vec<_> = owned.iter().map(|(who, field)| format!("conflict with \"{who}\": {field}")).collect();
        let causes: Vec<_> = owned
            .iter()
            .map(|(who, field)| json!({"reason": "FieldManagerConflict", "message": format!("conflict with \"{who}\""), "field": field}))
            .collect();
        let plural = if owned.len() == 1 { "conflict" } else { "conflicts" };
        let message = format!("Apply failed with {} {plural}: {}", owned.len(), text.join(", "));
        Self { code: 409, reason: "Conflict", message, details: json!({"causes": causes}) }
    }

    /// 422
    pub fn invalid(kind: &Kind, name: &str, field: &str, why: &str) -> Self {
        let message = format!("{} \"{name}\" is invalid: {field}: {why}", kind.kind);
        let mut failure = Self::about(422, "Invalid", kind, name, message);
        failure.details["causes"] = json!([{"reason": "FieldValueInvalid", "message": why, "field": field}]);
        failure
    }

    /// 400
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 410
    pub fn expired(asked: u64, oldest: u64) -> Self {
        Self::new(410, "Expired", format!("too old resource version: {asked} ({oldest})"))
    }

    /// A failure of the server itself, as faults order it.
    pub fn of_code(code: u16) -> Self {
        match code {
            403 => Self::new(403, "Forbidden", "the caller may not do this"),
            409 => Self::new(409, "Conflict", "the object has been modified"),
            410 => Self::new(410, "Expired", "the resource version is too old"),
            422 => Self::new(422, "Invalid", "the object is invalid"),
            429 => Self {
                details: json!({"retryAfterSeconds": 1}),
                ..Self::new(429, "TooManyRequests", "too many requests, please try again later")
            },
            503 => Self::new(503, "ServiceUnavailable", "the server is currently unable to handle the request"),
            504 => Self::new(504, "Timeout", "the server was unable to return a response in the time allotted"),
            _ => Self::new(500, "InternalError", "an error on the server has prevented the request from succeeding"),
        }
    }

    /// The body of the answer.
    pub fn body(&self) -> Value {
        let mut body = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        if !self.details.is_null() {
            body["details"] = self.details.clone();
        }
        body
    }
}
