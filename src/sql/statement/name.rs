//! Names of our objects on an instance.

use crate::{
    decide::upgrade::observation::trust_of,
    model::{
        ReplicaName,
        name::{bracket, literal},
    },
};

/// The mirroring endpoint.
pub const ENDPOINT: &str = "quorate_endpoint";
/// Prefix of a partner's login, user and certificate.
pub const PARTNER: &str = "quorate_partner_";
/// Prefix of the login, user and certificate of another group's replica that is trusted for a link.
pub const LINK: &str = "quorate_link_";
/// The login that looks.
pub const LOOK: &str = "quorate_look";
/// The login that acts.
pub const ACT: &str = "quorate_act";
/// The logon trigger of a staged upgrade.
pub const FENCE: &str = "quorate_fence";
/// The login that it runs as.
pub const FENCE_GUARD: &str = "quorate_guard";
/// `sa`
pub const ADMIN: &str = "sa";

/// Bare names of an instance's own certificate: the first one's, and the other's that takes turns with it.
pub fn own_certificates(replica: &ReplicaName) -> [String; 2] {
    [format!("quorate_{replica}"), format!("quorate_{replica}_b")]
}

/// Subject of an instance's own certificate, with the word that it was made for at its end.
pub fn subject(replica: &ReplicaName, rotation: Option<&str>) -> String {
    format!("mirroring endpoint of {replica}{}", rotation.map_or_else(String::new, |word| format!(" {word}")))
}

/// The word at the end of a subject; empty if there is none.
pub fn rotation_of(replica: &ReplicaName, text: &str) -> String {
    text.strip_prefix(&subject(replica, None)).unwrap_or_default().trim_start().into()
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

/// Bare name of the login, user and certificate of another group's replica.
pub fn link_partner(namespace: &str, replica: &ReplicaName) -> String {
    format!("{LINK}{}", trust_of(namespace, replica))
}
