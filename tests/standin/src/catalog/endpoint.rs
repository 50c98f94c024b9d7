//! The mirroring endpoint, and the catalog's word on partners.

use super::{Catalog, On, cannot};
use crate::{
    errors::{Message, SqlResult},
    group::{Endpoint, Identity},
    tsql::ast::EndpointOptions,
};
use serde::{Deserialize, Serialize};
use std::sync::atomic::Ordering;
use tokio::sync::watch;

/// The endpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EndpointData {
    /// Name as written.
    pub name: String,
    /// `endpoint_id`
    pub id: i32,
    /// `port`
    pub port: u16,
    /// 0 STARTED, 1 STOPPED, 2 DISABLED.
    pub state: u8,
    /// `certificate_id`
    pub certificate: i32,
    /// 1 PARTNER, 2 WITNESS, 3 ALL.
    pub role: u8,
    /// `principal_id`
    pub owner: i32,
}

fn state(word: &str) -> u8 {
    match word {
        "STARTED" => 0,
        "STOPPED" => 1,
        _ => 2,
    }
}

fn role(word: &str) -> u8 {
    match word {
        "PARTNER" => 1,
        "WITNESS" => 2,
        _ => 3,
    }
}

impl Catalog {
    /// CREATE ENDPOINT. `express`: the edition that accepts the role WITNESS only.
    pub fn create_endpoint(&self, name: &str, options: &EndpointOptions, owner: i32, express: bool) -> SqlResult<()> {
        self.change(|data| {
            if data.endpoint.is_some() {
                return Err(Message::new(7862, 16, "An endpoint of the requested type already exists. Only one endpoint of this type is supported. Use ALTER ENDPOINT or DROP the existing endpoint and execute the CREATE ENDPOINT statement."));
            }
            let missing = |what: &str| Message::new(102, 15, format!("Incorrect syntax near '{what}'."));
            let certificate = options.certificate.as_ref().ok_or_else(|| missing("AUTHENTICATION"))?;
            let found = data.certificates.get(&certificate.to_lowercase()).ok_or_else(|| cannot("find", "certificate", certificate))?;
            if found.key.is_none() {
                return Err(Message::new(7834, 16, format!("The certificate '{certificate}' has no private key; the endpoint cannot use it.")));
            }
            let certificate = found.id;
            let role = role(options.role.as_deref().ok_or_else(|| missing("ROLE"))?);
            if express && role != 2 {
                return Err(Message::new(7880, 16, "This edition of SQL Server supports an endpoint with the role WITNESS only."));
            }
            let id = data.id() + 65_300;
            data.endpoint = Some(EndpointData {
                name: name.into(),
                id,
                port: options.port.ok_or_else(|| missing("LISTENER_PORT"))?,
                state: options.state.as_deref().map_or(1, state),
                certificate,
                role,
                owner,
            });
            Ok(())
        })
    }

    /// ALTER ENDPOINT
    pub fn alter_endpoint(&self, name: &str, options: &EndpointOptions) -> SqlResult<()> {
        self.change(|data| {
            let certificate = match &options.certificate {
                None => None,
                Some(certificate) => {
                    let found = data.certificates.get(&certificate.to_lowercase());
                    Some(found.ok_or_else(|| cannot("find", "certificate", certificate))?.id)
                }
            };
            let endpoint = data.endpoint.as_mut().filter(|endpoint| endpoint.name.eq_ignore_ascii_case(name));
            let endpoint = endpoint.ok_or_else(|| cannot("alter", "endpoint", name))?;
            if let Some(word) = &options.state {
                if endpoint.state == 0 && state(word) != 0 {
                    self.stops.fetch_add(1, Ordering::SeqCst);
                }
                endpoint.state = state(word);
            }
            if let Some(port) = options.port {
                endpoint.port = port;
            }
            if let Some(word) = &options.role {
                endpoint.role = role(word);
            }
            if let Some(certificate) = certificate {
                endpoint.certificate = certificate;
            }
            Ok(())
        })
    }

    /// DROP ENDPOINT
    pub fn drop_endpoint(&self, name: &str) -> SqlResult<()> {
        self.change(|data| {
            if !data.endpoint.as_ref().is_some_and(|endpoint| endpoint.name.eq_ignore_ascii_case(name)) {
                return Err(cannot("drop", "endpoint", name));
            }
            data.endpoint = None;
            self.stops.fetch_add(1, Ordering::SeqCst);
            data.permissions.retain(|permission| !matches!(permission.on, On::Endpoint(_)));
            Ok(())
        })
    }
}

impl Identity for Catalog {
    fn endpoint(&self) -> Option<Endpoint> {
        let data = self.read();
        let endpoint = data.endpoint.as_ref()?;
        let certificate = data.certificate(i64::from(endpoint.certificate))?;
        Some(Endpoint {
            port: endpoint.port,
            started: endpoint.state == 0,
            certificate: certificate.der.clone(),
            key: certificate.key.clone()?,
        })
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.watch()
    }

    fn stops(&self) -> u64 {
        self.stops.load(Ordering::SeqCst)
    }

    fn knows(&self, certificate: &[u8]) -> bool {
        self.read().certificates.values().any(|known| known.der == certificate)
    }

    fn authorize(&self, certificate: &[u8]) -> bool {
        let data = self.read();
        let Some(endpoint) = &data.endpoint else { return false };
        let Some(known) = data.certificates.values().find(|known| known.der == certificate) else { return false };
        let now = jiff::Timestamp::now().as_microsecond();
        if !(known.start..=known.expiry).contains(&now) {
            return false;
        }
        let by_owner = known.owner_sid.as_ref().and_then(|sid| data.login_by_sid(sid));
        let login = by_owner.or_else(|| data.login_by_sid(&known.thumbprint));
        login.is_some_and(|login| data.holds(&login.name, "CONNECT", &On::Endpoint(endpoint.name.to_lowercase())))
    }
}
