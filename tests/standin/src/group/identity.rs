//! Who an instance is to its partners, as the server's catalog knows it.

use tokio::sync::watch;

/// The mirroring endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Port.
    pub port: u16,
    /// STARTED
    pub started: bool,
    /// Its certificate, DER.
    pub certificate: Vec<u8>,
    /// Private key, PKCS #8 DER.
    pub key: Vec<u8>,
}

/// The catalog's answers. Certificate authentication of endpoints: SQL Server docs, "Use certificates for a database
/// mirroring endpoint".
pub trait Identity: Send + Sync {
    /// The endpoint as it is now. `None`: not created.
    fn endpoint(&self) -> Option<Endpoint>;
    /// Changes whenever endpoint, certificates or grants do.
    fn changes(&self) -> watch::Receiver<u64>;
    /// How often the endpoint was stopped: a stop and a start at once still cut every connection.
    fn stops(&self) -> u64;
    /// Whether this peer may connect: its certificate was imported here and its owner's login has CONNECT on the
    /// endpoint, not denied.
    fn authorize(&self, certificate: &[u8]) -> bool;
    /// Whether this peer's certificate was imported here, whatever its owner may do: all that the side which opened a
    /// connection asks when `Switches::checks_outbound` is off.
    fn knows(&self, certificate: &[u8]) -> bool;
}
