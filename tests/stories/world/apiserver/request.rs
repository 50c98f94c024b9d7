//! One HTTP request, understood.

use super::status::Failure;
use http::{Method, Uri};
use serde_json::Value;
use std::{collections::BTreeMap, fmt};

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// One object.
    Get,
    /// Many objects.
    List,
    /// Changes from now on.
    Watch,
    /// POST
    Create,
    /// PUT
    Replace,
    /// PATCH with `application/apply-patch+yaml`
    Apply,
    /// PATCH with `application/merge-patch+json`
    MergePatch,
    /// PATCH with `application/json-patch+json`
    JsonPatch,
    /// DELETE of one object
    Delete,
}

impl Verb {
    /// Whether it may change something.
    pub fn writes(self) -> bool {
        !matches!(self, Self::Get | Self::List | Self::Watch)
    }
}

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    /// What is asked.
    pub verb: Verb,
    /// API group, empty for core.
    pub group: String,
    /// API version.
    pub version: String,
    /// Resource in the path.
    pub plural: String,
    /// Namespace in the path, empty for all or none.
    pub namespace: String,
    /// Object in the path, empty for collections.
    pub name: String,
    /// `status` or empty.
    pub subresource: String,
    /// Query parameters.
    pub query: BTreeMap<String, String>,
    /// Whether only metadata is wanted.
    pub metadata_only: bool,
    /// Body.
    pub body: Value,
}

impl Request {
    /// Understands a request.
    pub fn parse(method: &Method, uri: &Uri, headers: &http::HeaderMap, body: &[u8]) -> Result<Self, Failure> {
        let mut path: Vec<&str> = uri.path().split('/').filter(|part| !part.is_empty()).collect();
        let (group, version) = match path.first() {
            Some(&"api") if path.len() > 2 => ("", path[1]),
            Some(&"apis") if path.len() > 3 => (path[1], path[2]),
            _ => return Err(Failure::no_such_resource()),
        };
        path.drain(..if group.is_empty() { 2 } else { 3 });
        let namespace = if path[0] == "namespaces" && path.len() > 2 {
            let namespace = path[1];
            path.drain(..2);
            namespace
        } else {
            ""
        };
        let header =
            |name: http::HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let query = parse_query(uri.query().unwrap_or_default());
        let name = path.get(1).copied().unwrap_or_default();
        let watch = query.get("watch").is_some_and(|value| value == "true" || value == "1");
        Ok(Self {
            verb: verb(method, name, watch, header(http::header::CONTENT_TYPE))?,
            group: group.into(),
            version: version.into(),
            plural: path[0].into(),
            namespace: namespace.into(),
            name: name.into(),
            subresource: path.get(2).copied().unwrap_or_default().into(),
            query,
            metadata_only: header(http::header::ACCEPT).contains("as=PartialObjectMetadata"),
            body: parse_body(body)?,
        })
    }

    /// A query parameter, empty when absent.
    pub fn parameter(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }

    /// The field manager that the caller names.
    pub fn manager(&self) -> &str {
        self.parameter("fieldManager")
    }

    /// Whether this is about the Lease of a leader election.
    pub fn is_lease(&self) -> bool {
        self.plural == "leases"
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.name.is_empty() { self.body["metadata"]["name"].as_str().unwrap_or("") } else { &self.name };
        write!(f, "{:?} {}", self.verb, self.plural)?;
        if !self.subresource.is_empty() {
            write!(f, "/{}", self.subresource)?;
        }
        match (self.namespace.as_str(), name) {
            ("", "") => Ok(()),
            ("", name) => write!(f, " {name}"),
            (namespace, "") => write!(f, " in {namespace}"),
            (namespace, name) => write!(f, " {namespace}/{name}"),
        }
    }
}

fn verb(method: &Method, name: &str, watch: bool, content_type: &str) -> Result<Verb, Failure> {
    Ok(match (method.as_str(), name.is_empty()) {
        ("GET", _) if watch => Verb::Watch,
        ("GET", true) => Verb::List,
        ("GET", false) => Verb::Get,
        ("POST", true) => Verb::Create,
        ("PUT", false) => Verb::Replace,
        ("DELETE", false) => Verb::Delete,
        ("PATCH", false) => match content_type {
            "application/apply-patch+yaml" => Verb::Apply,
            "application/merge-patch+json" => Verb::MergePatch,
            "application/json-patch+json" => Verb::JsonPatch,
            other => {
                return Err(Failure::new(415, "UnsupportedMediaType", format!("media type {other} is not supported")));
            }
        },
        (method, _) => return Err(Failure::not_allowed(method)),
    })
}

fn parse_body(body: &[u8]) -> Result<Value, Failure> {
    if body.is_empty() {
        return Ok(Value::Null);
    }
    if let Ok(value) = serde_json::from_slice(body) {
        return Ok(value);
    }
    let text = std::str::from_utf8(body).map_err(|error| Failure::bad_request(error.to_string()))?;
    serde_saphyr::from_str(text).map_err(|error| Failure::bad_request(error.to_string()))
}

fn parse_query(query: &str) -> BTreeMap<String, String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decode(name), decode(value))).collect()
}

fn decode(text: &str) -> String {
    let (mut bytes, mut out) = (text.bytes(), Vec::new());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let hex = [bytes.next().unwrap_or(b'0'), bytes.next().unwrap_or(b'0')];
                std::str::from_utf8(&hex).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok()).unwrap_or(b'?')
            }
            other => other,
        });
    }
    String::from_utf8_lossy(&out).into_owned()
}
