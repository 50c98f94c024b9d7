//! `quorate prepare`: the init container that writes `mssql.conf` and the server's certificate to the volume.
//!
//! SQL Server reads both from `/var/opt/mssql`; a mounted Secret or ConfigMap there is not writable, which the real image
//! wants its configuration to be (SQL Server docs, "Deploy SQL Server Linux containers on Kubernetes with StatefulSets").

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

/// Where the certificate lies, seen from the server.
const CERTIFICATE: &str = "/var/opt/mssql/tls/tls.crt";
/// Where its key lies.
const KEY: &str = "/var/opt/mssql/tls/tls.key";
/// Files that only the server's user reads.
const PRIVATE: u32 = 0o400;

/// Settings that are ours: a spec cannot change them.
const OURS: [(&str, &str); 3] = [("network.tlscert", CERTIFICATE), ("network.tlskey", KEY), ("hadr.hadrenabled", "1")];

/// Settings unless a spec says otherwise.
const DEFAULTS: [(&str, &str); 2] = [("network.tlsprotocols", "1.2"), ("network.forceencryption", "1")];

/// The text of `mssql.conf`: sections in order, ours last and unchangeable. Errors name the setting.
pub fn configuration(settings: &[String]) -> Result<String, String> {
    let mut sections: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
    let set = |sections: &mut BTreeMap<_, BTreeMap<_, _>>, (key, value): (&'static str, &'static str)| {
        if let Some((section, name)) = key.split_once('.') {
            sections.entry(section).or_default().insert(name, value);
        }
    };
    DEFAULTS.into_iter().for_each(|setting| set(&mut sections, setting));
    for setting in settings {
        let (key, value) =
            setting.split_once('=').ok_or_else(|| format!("--set {setting:?}: write it as section.key=value"))?;
        let (section, name) = key
            .split_once('.')
            .ok_or_else(|| format!("--set {setting:?}: {key:?} has no section, as in memory.memorylimitmb"))?;
        let word = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !word(section) || !word(name) || value.chars().any(char::is_control) {
            return Err(format!(
                "--set {setting:?}: a section and a key are words, and a value has no control characters"
            ));
        }
        if OURS.iter().any(|(own, _)| own.eq_ignore_ascii_case(key)) {
            return Err(format!("--set {setting:?}: {key} is set by the operator"));
        }
        sections.entry(section).or_default().insert(name, value);
    }
    OURS.into_iter().for_each(|setting| set(&mut sections, setting));
    let section = |(name, keys): (&&str, &BTreeMap<&str, &str>)| {
        let lines: Vec<_> = keys.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        format!("[{name}]\n{}", lines.concat())
    };
    Ok(sections.iter().map(section).collect::<Vec<_>>().join("\n"))
}

/// Writes configuration and certificate below `to`. Errors name the file.
pub fn prepare(certificate: &Path, to: &Path, settings: &[String]) -> Result<String, String> {
    let text = configuration(settings)?;
    let tls = to.join("tls");
    let named = |path: &Path, error: io::Error| format!("{}: {error}", path.display());
    fs::create_dir_all(&tls).map_err(|error| named(&tls, error))?;
    for name in ["tls.crt", "tls.key"] {
        let (from, into) = (certificate.join(name), tls.join(name));
        let bytes = fs::read(&from).map_err(|error| named(&from, error))?;
        write(&into, &bytes, PRIVATE).map_err(|error| named(&into, error))?;
    }
    let file = to.join("mssql.conf");
    write(&file, text.as_bytes(), 0o660).map_err(|error| named(&file, error))?;
    Ok(format!("wrote {} and {}", file.display(), tls.display()))
}

/// Replaces a file as a whole: a server that starts sees the old one or the new one.
fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let new = path.with_extension("new");
    if new.exists() {
        fs::remove_file(&new)?;
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
    io::Write::write_all(&mut file, bytes)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.sync_all()?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_a_spec_and_ours_share_a_file() {
        let text = configuration(&["memory.memorylimitmb=2048".into(), "network.tcpport=1433".into()]).unwrap();
        assert!(text.contains("[memory]\nmemorylimitmb = 2048\n"), "{text}");
        assert!(
            text.contains("[network]\nforceencryption = 1\ntcpport = 1433\ntlscert = /var/opt/mssql/tls/tls.crt\n"),
            "{text}"
        );
        assert!(text.contains("[hadr]\nhadrenabled = 1\n"), "{text}");
    }

    #[test]
    fn a_spec_may_change_what_is_only_a_default() {
        let text = configuration(&["network.forceencryption=0".into()]).unwrap();
        assert!(text.contains("forceencryption = 0\n") && !text.contains("forceencryption = 1"), "{text}");
        assert!(text.contains("tlsprotocols = 1.2\n"), "{text}");
    }

    #[test]
    fn a_setting_that_cannot_be_is_named() {
        for bad in ["x", "a.b", "=1", "network.tlscert=/tmp/x", "a.b=c\nd", "a b.c=1", ".a=1"] {
            let error = configuration(&[bad.into()]).unwrap_err();
            assert!(error.contains(&format!("{bad:?}")), "{error}");
        }
    }

    #[test]
    fn files_are_written_whole_and_the_key_is_private() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(from.path().join("tls.crt"), "c").unwrap();
        fs::write(from.path().join("tls.key"), "k").unwrap();
        prepare(from.path(), to.path(), &[]).unwrap();
        prepare(from.path(), to.path(), &[]).unwrap();
        let key = to.path().join("tls/tls.key");
        assert_eq!(fs::read_to_string(&key).unwrap(), "k");
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, PRIVATE);
        let missing = prepare(&from.path().join("nowhere"), to.path(), &[]).unwrap_err();
        assert!(missing.contains("nowhere/tls.crt"), "{missing}");
    }
}
