//! Certificates of `master` and its master key.
//!
//! A private key leaves only through CERTPRIVATEKEY, encrypted by a password. The form is the stand-in's own, not
//! Microsoft's PVK: `QPVK`, 16 bytes of salt, a tag, the key under a stream of SHA-256 over password, salt and counter.

use super::{Catalog, Data, cannot, exists};
use crate::{
    errors::{Message, SqlResult},
    tsql::{ast::CertificateSource, convert},
};
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// A certificate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Certificate {
    /// Name as written.
    pub name: String,
    /// `certificate_id`
    pub id: i32,
    /// `principal_id` of its owner in `master`.
    pub owner: i32,
    /// SID of the owner's login. `None`: a user without login.
    pub owner_sid: Option<Vec<u8>>,
    /// DER.
    pub der: Vec<u8>,
    /// Private key, PKCS #8.
    pub key: Option<Vec<u8>>,
    /// `thumbprint`: SHA-1.
    pub thumbprint: Vec<u8>,
    /// `subject`
    pub subject: String,
    /// `issuer_name`
    pub issuer: String,
    /// `cert_serial_number`
    pub serial: String,
    /// `start_date`, microseconds since 1970.
    pub start: i64,
    /// `expiry_date`, microseconds since 1970.
    pub expiry: i64,
}

fn invalid() -> Message {
    Message::new(15_297, 16, "The certificate, asymmetric key, or private key data is invalid.")
}

/// Reads a certificate's own words.
pub fn describe(der: &[u8]) -> SqlResult<Certificate> {
    let (rest, parsed) = x509_parser::parse_x509_certificate(der).map_err(|_| invalid())?;
    if !rest.is_empty() {
        return Err(invalid());
    }
    let micros = |time: x509_parser::time::ASN1Time| time.timestamp().saturating_mul(1_000_000);
    Ok(Certificate {
        name: String::new(),
        id: 0,
        owner: 1,
        owner_sid: Some(vec![1]),
        der: der.to_vec(),
        key: None,
        thumbprint: Sha1::digest(der).to_vec(),
        subject: common_name(&parsed.subject().to_string()),
        issuer: common_name(&parsed.issuer().to_string()),
        serial: parsed.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "),
        start: micros(parsed.validity().not_before),
        expiry: micros(parsed.validity().not_after),
    })
}

fn common_name(name: &str) -> String {
    name.strip_prefix("CN=").unwrap_or(name).to_string()
}

fn date(text: Option<&String>, default: i64) -> SqlResult<i64> {
    let Some(text) = text else { return Ok(default) };
    convert::moment(text).ok_or_else(|| {
        Message::new(241, 16, "Conversion failed when converting date and/or time from character string.")
    })
}

fn offset(micros: i64) -> SqlResult<(i32, u8, u8)> {
    let at = jiff::Timestamp::from_microsecond(micros).map_err(|_| invalid())?;
    let at = jiff::tz::TimeZone::UTC.to_datetime(at);
    Ok((i32::from(at.year()), at.month().unsigned_abs(), at.day().unsigned_abs()))
}

/// A self-signed certificate.
fn generate(subject: &str, start: i64, expiry: i64) -> SqlResult<(Vec<u8>, Vec<u8>)> {
    let failed = |error: rcgen::Error| Message::new(15_291, 16, format!("The certificate cannot be created: {error}"));
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, subject);
    let ((y, m, d), (ey, em, ed)) = (offset(start)?, offset(expiry)?);
    params.not_before = rcgen::date_time_ymd(y, m, d);
    params.not_after = rcgen::date_time_ymd(ey, em, ed);
    let key = rcgen::KeyPair::generate().map_err(failed)?;
    let certificate = params.self_signed(&key).map_err(failed)?;
    Ok((certificate.der().to_vec(), key.serialize_der()))
}

impl Catalog {
    /// CREATE CERTIFICATE
    pub fn create_certificate(
        &self,
        name: &str,
        owner: &super::database::Principal,
        source: &CertificateSource,
        now: i64,
    ) -> SqlResult<()> {
        let year = 365 * 86_400_000_000;
        let (der, key) = match source {
            CertificateSource::New { subject, start, expiry } => {
                let start = date(start.as_ref(), now)?;
                let expiry = date(expiry.as_ref(), start.saturating_add(year))?;
                if expiry <= start {
                    return Err(Message::new(15_290, 16, "The expiry date must be after the start date."));
                }
                let (der, key) = generate(subject, start, expiry)?;
                (der, Some(key))
            }
            CertificateSource::Binary { der, key } => {
                let key = key.as_ref().map(|(key, password)| decrypt(key, password).ok_or_else(invalid)).transpose()?;
                (der.clone(), key)
            }
        };
        let described = describe(&der)?;
        self.change(|data| {
            if data.certificates.contains_key(&name.to_lowercase()) {
                return Err(Message::new(15_232, 16, format!("A certificate with name '{name}' already exists or this certificate already has been added to the database.")));
            }
            if data.certificates.values().any(|other| other.thumbprint == described.thumbprint) {
                return Err(Message::new(15_232, 16, format!("A certificate with name '{name}' already exists or this certificate already has been added to the database.")));
            }
            if key.is_some() && !data.master_key {
                return Err(Message::new(15_581, 16, "Please create a master key in the database or open the master key in the session before performing this operation.").state(3));
            }
            let id = data.id();
            let certificate = Certificate {
                name: name.into(),
                id,
                owner: owner.id,
                owner_sid: owner.sid.clone(),
                key,
                ..described
            };
            data.certificates.insert(name.to_lowercase(), certificate);
            Ok(())
        })
    }

    /// DROP CERTIFICATE; 15352 while the endpoint or a login uses it.
    pub fn drop_certificate(&self, name: &str) -> SqlResult<()> {
        self.change(|data| {
            let certificate = data.certificates.get(&name.to_lowercase()).ok_or_else(|| cannot("drop", "certificate", name))?;
            let used = data.endpoint.as_ref().is_some_and(|endpoint| endpoint.certificate == certificate.id);
            let mapped = data.login_by_sid(&certificate.thumbprint).is_some();
            if used || mapped {
                return Err(Message::new(15_352, 16, "The certificate cannot be dropped because one or more entities are either signed or encrypted using it."));
            }
            data.certificates.remove(&name.to_lowercase());
            Ok(())
        })
    }

    /// ALTER AUTHORIZATION ON CERTIFICATE
    pub fn own_certificate(&self, name: &str, owner: &super::database::Principal) -> SqlResult<()> {
        self.change(|data| {
            let found = data.certificates.get_mut(&name.to_lowercase());
            let certificate = found.ok_or_else(|| cannot("find", "certificate", name))?;
            certificate.owner = owner.id;
            certificate.owner_sid.clone_from(&owner.sid);
            Ok(())
        })
    }

    /// CREATE MASTER KEY
    pub fn create_master_key(&self) -> SqlResult<()> {
        self.change(|data| {
            if data.master_key {
                return Err(Message::new(
                    15_578,
                    16,
                    "There is already a master key in the database. Please drop it before performing this statement.",
                ));
            }
            data.master_key = true;
            Ok(())
        })
    }

    /// DROP MASTER KEY; 15580 while a private key is under it.
    pub fn drop_master_key(&self) -> SqlResult<()> {
        self.change(|data| {
            if !data.master_key {
                return Err(cannot("find", "symmetric key", "master key"));
            }
            if let Some(certificate) = data.certificates.values().find(|certificate| certificate.key.is_some()) {
                return Err(Message::new(
                    15_580,
                    16,
                    format!("Cannot drop master key because certificate '{}' is encrypted by it.", certificate.name),
                ));
            }
            data.master_key = false;
            Ok(())
        })
    }
}

impl Data {
    /// A certificate by its id.
    pub fn certificate(&self, id: i64) -> Option<&Certificate> {
        self.certificates.values().find(|certificate| i64::from(certificate.id) == id)
    }

    /// Refuses a name that is taken, before anything is generated.
    pub fn free_certificate_name(&self, name: &str) -> SqlResult<()> {
        if self.certificates.contains_key(&name.to_lowercase()) {
            Err(exists(15_232, "certificate", name))
        } else {
            Ok(())
        }
    }
}

fn stream(bytes: &[u8], password: &str, salt: &[u8]) -> Vec<u8> {
    let blocks = bytes.chunks(32).enumerate();
    blocks
        .flat_map(|(counter, block)| {
            let pad = Sha256::new()
                .chain_update(password.as_bytes())
                .chain_update(salt)
                .chain_update((counter as u64).to_le_bytes())
                .finalize();
            block.iter().zip(pad).map(|(byte, pad)| byte ^ pad).collect::<Vec<_>>()
        })
        .collect()
}

fn tag(key: &[u8], password: &str, salt: &[u8]) -> Vec<u8> {
    Sha256::new()
        .chain_update(b"tag")
        .chain_update(password.as_bytes())
        .chain_update(salt)
        .chain_update(key)
        .finalize()
        .to_vec()
}

/// CERTPRIVATEKEY
pub fn encrypt(key: &[u8], password: &str) -> Vec<u8> {
    let salt: [u8; 16] = rand::random();
    [b"QPVK", salt.as_slice(), &tag(key, password, &salt), &stream(key, password, &salt)].concat()
}

fn decrypt(bytes: &[u8], password: &str) -> Option<Vec<u8>> {
    let body = bytes.strip_prefix(b"QPVK")?;
    let (salt, body) = body.split_at_checked(16)?;
    let (expected, body) = body.split_at_checked(32)?;
    let key = stream(body, password, salt);
    (tag(&key, password, salt) == expected).then_some(key)
}
