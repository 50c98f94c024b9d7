//! One authority and a certificate with a kubeconfig for every component.

use std::fs;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

use crate::error::{AtPath as _, Result};
use crate::layout::{FIRST_SERVICE, GATEWAY, Node};

const ADMINISTRATORS: &str = "system:masters";

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

/// Makes everything below `directory`, once.
pub(crate) fn make(directory: &Path) -> Result<()> {
    let done = directory.join("done");
    if done.exists() {
        return Ok(());
    }
    fs::create_dir_all(directory).at(directory)?;
    let authority = authority(directory)?;
    let tokens = KeyPair::generate()?;
    write(directory, "sa.key", &tokens.serialize_pem())?;
    write(directory, "sa.pub", &tokens.public_key_pem())?;

    let mut server = names(&["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]);
    server.push("kubernetes.default.svc.cluster.local".to_owned());
    server.extend(names(&[GATEWAY, FIRST_SERVICE, "127.0.0.1"]));
    authority.sign(directory, "apiserver", "kube-apiserver", None, server)?;
    authority.sign(directory, "apiserver-kubelet", "kube-apiserver-kubelet-client", Some(ADMINISTRATORS), vec![])?;
    for (file, user, group) in [
        ("admin", "admin", Some(ADMINISTRATORS)),
        ("controller-manager", "system:kube-controller-manager", None),
        ("scheduler", "system:kube-scheduler", None),
        ("proxy", "system:kube-proxy", None),
    ] {
        authority.user(directory, file, user, group, vec![])?;
    }
    for node in Node::all() {
        let (file, user) = (format!("kubelet-{node}"), format!("system:node:{node}"));
        authority.user(directory, &file, &user, Some("system:nodes"), vec![node.address(), node.to_string()])?;
    }
    write(directory, "done", "")
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

fn write(directory: &Path, file: &str, text: &str) -> Result<()> {
    let path = directory.join(file);
    fs::write(&path, text).at(&path)
}

fn dated(mut parameters: CertificateParams) -> CertificateParams {
    // Fixed dates: a machine with a wrong clock gets a working lab all the same.
    parameters.not_before = date_time_ymd(2020, 1, 1);
    parameters.not_after = date_time_ymd(2049, 1, 1);
    parameters
}

fn authority(directory: &Path) -> Result<Authority> {
    let key = KeyPair::generate()?;
    let mut parameters = dated(CertificateParams::new(vec![])?);
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, "lab");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    let certificate = parameters.self_signed(&key)?.pem();
    write(directory, "ca.key", &key.serialize_pem())?;
    write(directory, "ca.crt", &certificate)?;
    Ok(Authority { issuer: Issuer::new(parameters, key), certificate })
}

impl Authority {
    /// Writes `file`.key and `file`.crt; both PEM texts.
    fn sign(
        &self,
        directory: &Path,
        file: &str,
        user: &str,
        group: Option<&str>,
        names: Vec<String>,
    ) -> Result<(String, String)> {
        let key = KeyPair::generate()?;
        let mut parameters = dated(CertificateParams::new(names)?);
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(group) = group {
            parameters.distinguished_name.push(DnType::OrganizationName, group);
        }
        parameters.distinguished_name.push(DnType::CommonName, user);
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = parameters.signed_by(&key, &self.issuer)?.pem();
        let key = key.serialize_pem();
        write(directory, &format!("{file}.key"), &key)?;
        write(directory, &format!("{file}.crt"), &certificate)?;
        Ok((certificate, key))
    }

    fn user(&self, directory: &Path, file: &str, user: &str, group: Option<&str>, names: Vec<String>) -> Result<()> {
        let (certificate, key) = self.sign(directory, file, user, group, names)?;
        let text = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "lab", "cluster": {
                "server": format!("https://{GATEWAY}:6443"),
                "certificate-authority-data": base64(self.certificate.as_bytes()),
            }}],
            "users": [{"name": file, "user": {
                "client-certificate-data": base64(certificate.as_bytes()),
                "client-key-data": base64(key.as_bytes()),
            }}],
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": file}}],
            "current-context": "lab",
        });
        write(directory, &format!("{file}.kubeconfig"), &text.to_string())
    }
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let letter = |value: u32, shift: u32| {
        let index = usize::try_from((value >> shift) & 63).unwrap_or_default();
        char::from(ALPHABET.get(index).copied().unwrap_or(b'='))
    };
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let value = (0..3).fold(0, |value, i| value << 8 | u32::from(chunk.get(i).copied().unwrap_or_default()));
        text.push(letter(value, 18));
        text.push(letter(value, 12));
        text.push(if chunk.len() > 1 { letter(value, 6) } else { '=' });
        text.push(if chunk.len() > 2 { letter(value, 0) } else { '=' });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_pads_as_the_standard_says() {
        for (plain, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(plain.as_bytes()), text);
        }
        assert_eq!(base64(&[0xff, 0xef, 0xbe]), "/+++");
    }
}
