//! Names of our objects on an instance.

use crate::model::{
    ReplicaName,
    name::{bracket, literal},
};

/// The mirroring endpoint.
pub const ENDPOINT: &str = "quorate_endpoint";
/// Prefix of a partner's login, user and certificate.
pub const PARTNER: &str = "quorate_partner_";
/// The login that looks.
pub const LOOK: &str = "quorate_look";
/// The login that acts.
pub const ACT: &str = "quorate_act";
/// `sa`
pub const ADMIN: &str = "sa";

/// Bare name of an instance's own certificate.
pub fn own_certificate(replica: &ReplicaName) -> String {
    format!("quorate_{replica}")
}

/// Bare name of a partner's login, user and certificate.
pub fn partner(replica: &ReplicaName) -> String {
    format!("{PARTNER}{replica}")
}

/// A partner's name as identifier.
pub fn partner_quoted(replica: &ReplicaName) -> String {
    bracket(&partner(replica))
}

/// A partner's name as literal.
pub fn partner_literal(replica: &ReplicaName) -> String {
    literal(&partner(replica))
}
