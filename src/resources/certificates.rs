//! Our own CA and the servers' certificate. Keys are ECDSA P-256; SQL Server on Linux reads PEM files.

use super::{
    authority_name, authority_secret_name, certificates_name, object, read_only_service, read_write_service,
    replicas_service, server_secret_name, with,
};
use crate::model::Group;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A CA: certificate and key, PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Authority {
    /// Certificate.
    pub certificate: String,
    /// Private key.
    pub key: String,
}

/// Host names that the servers' certificate carries: every pod's and both Services', short and long.
pub fn hosts(group: &Group) -> Vec<String> {
    let namespace = &group.namespace;
    let bases = [
        format!("*.{}.{namespace}", replicas_service(group)),
        format!("{}.{namespace}", read_write_service(group)),
        format!("{}.{namespace}", read_only_service(group)),
    ];
    let mut hosts = vec![read_write_service(group), read_only_service(group)];
    for base in bases {
        hosts.extend([base.clone(), format!("{base}.svc"), format!("{base}.svc.cluster.local")]);
    }
    hosts
}

/// A new CA for a group, with its Secret and the ConfigMap that publishes its certificate. Errors: none that a key of
/// ours could cause; they are passed on rather than hidden.
pub fn authority(group: &Group) -> Result<(Authority, [Value; 2]), rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params.distinguished_name.push(DnType::CommonName, format!("Quorate CA of {}/{}", group.namespace, group.name));
    lasts(&mut params);
    let certificate = params.self_signed(&key)?;
    let authority = Authority { certificate: certificate.pem(), key: key.serialize_pem() };
    let objects = authority_objects(group, &authority);
    Ok((authority, objects))
}

/// The objects of a CA that exists.
fn authority_objects(group: &Group, authority: &Authority) -> [Value; 2] {
    let secret = with(
        object(group, "v1", "Secret", &authority_secret_name(group), group.pods.delete_volumes),
        "stringData",
        json!({ "ca.crt": authority.certificate, "ca.key": authority.key }),
    );
    [secret, published_authority(group, authority)]
}

/// The ConfigMap that publishes the certificate of a CA.
pub fn published_authority(group: &Group, authority: &Authority) -> Value {
    let map = object(group, "v1", "ConfigMap", &authority_name(group), group.pods.delete_volumes);
    with(map, "data", json!({ "ca.crt": authority.certificate }))
}

/// A server certificate signed by the CA, as a `kubernetes.io/tls` Secret.
pub fn server_certificate(group: &Group, authority: &Authority) -> Result<Value, rcgen::Error> {
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, KeyPair::from_pem(&authority.key)?)?;
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(hosts(group))?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.distinguished_name.push(DnType::CommonName, group.name.as_str());
    lasts(&mut params);
    let certificate = params.signed_by(&key, &issuer)?;
    let secret = object(group, "v1", "Secret", &server_secret_name(group), group.pods.delete_volumes);
    let secret = with(secret, "type", json!("kubernetes.io/tls"));
    Ok(with(
        secret,
        "stringData",
        json!({ "tls.crt": certificate.pem(), "tls.key": key.serialize_pem(), "ca.crt": authority.certificate }),
    ))
}

/// The ConfigMap with the public certificates of instances, lower-case hex by replica.
pub fn kept_certificates(group: &Group, kept: &BTreeMap<String, String>) -> Value {
    let map = object(group, "v1", "ConfigMap", &certificates_name(group), group.pods.delete_volumes);
    with(map, "data", json!(kept))
}

/// As long as the volumes may live; rotation is by deleting the Secret.
fn lasts(params: &mut CertificateParams) {
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2099, 12, 31);
}
