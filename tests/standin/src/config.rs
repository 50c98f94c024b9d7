//! Settings: `MSSQL_*` variables and `mssql.conf`, as SQL Server on Linux reads them (SQL Server docs, "Configure SQL
//! Server settings with environment variables" and "mssql-conf"), and `STANDIN_*` for tests.

use standin::{
    faults::{FailoverEngine, Faults, Switches},
    instance,
};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Mutex,
    time::Duration,
};
use tracing_subscriber::fmt::{MakeWriter, format::Writer, time::FormatTime};

/// Everything that a start needs.
pub struct Settings {
    /// `/var/opt/mssql`, or `STANDIN_ROOT`.
    pub folder: PathBuf,
    data: PathBuf,
    /// Host name.
    pub host: String,
    /// `MSSQL_TCP_PORT`
    pub port: u16,
    /// `MSSQL_SA_PASSWORD`
    pub sa_password: String,
    hadr: bool,
    collation: String,
    edition: (&'static str, i32),
    version: String,
    /// `network.tlscert`, `network.tlskey`
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// `network.forceencryption`
    pub force_encryption: bool,
    /// Switches.
    pub faults: Faults,
}

/// `section.key` to value.
fn parse(text: &str) -> BTreeMap<String, String> {
    let mut section = String::new();
    let mut values = BTreeMap::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name.trim().to_lowercase();
        } else if let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with(['#', ';'])) {
            values.insert(format!("{section}.{}", key.trim().to_lowercase()), value.trim().to_string());
        }
    }
    values
}

fn switched_on(text: &str) -> bool {
    ["1", "true", "yes", "on"].iter().any(|word| word.eq_ignore_ascii_case(text.trim()))
}

/// A switch that is on or off. Another word is refused: a test that means to turn one must not run without it.
fn turn(variable: impl Fn(&str) -> Option<String>, name: &str, switch: &mut bool) -> Result<(), String> {
    let Some(value) = variable(name) else { return Ok(()) };
    *switch = match value.trim().to_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => true,
        "0" | "false" | "no" | "off" => false,
        _ => return Err(format!("{name}: '{value}' is not on or off")),
    };
    Ok(())
}

/// A number of something.
fn number(variable: impl Fn(&str) -> Option<String>, name: &str, unit: &str) -> Result<Option<u64>, String> {
    let Some(value) = variable(name) else { return Ok(None) };
    value.trim().parse().map(Some).map_err(|_| format!("{name}: '{value}' is not a number of {unit}"))
}

fn faults(variable: impl Fn(&str) -> Option<String>) -> Result<Faults, String> {
    let mut switches = Switches::default();
    if let Some(engine) = variable("STANDIN_FAILOVER") {
        switches.failover = match engine.as_str() {
            "local" => FailoverEngine::Local,
            "majority-before-acknowledging" => FailoverEngine::MajorityBeforeAcknowledging,
            "majority-before-promotion" => FailoverEngine::MajorityBeforePromotion,
            _ => {
                return Err(format!(
                    "STANDIN_FAILOVER: '{engine}' is not local, majority-before-acknowledging or majority-before-promotion"
                ));
            }
        };
    }
    for (name, switch) in [
        ("STANDIN_FOLLOWS_LOWER_NUMBERS", &mut switches.follows_lower_numbers),
        ("STANDIN_RESTARTS_AS_PRIMARY", &mut switches.restarts_as_primary),
        ("STANDIN_CONFIGURATION_ONLY_ACCEPTS_OFFLINE", &mut switches.configuration_only_accepts_offline),
        ("STANDIN_DENY_CUTS_CONNECTIONS", &mut switches.deny_cuts_connections),
        ("STANDIN_CHECKS_OUTBOUND", &mut switches.checks_outbound),
        ("STANDIN_COMMIT_QUORUM_BESIDE_CONFIGURATION_ONLY", &mut switches.commit_quorum_beside_configuration_only),
        ("STANDIN_JOINS_RESOLVING", &mut switches.joins_resolving),
        ("STANDIN_SET_ROLE_NEEDS_PRIMARY", &mut switches.set_role_needs_primary),
        ("STANDIN_YIELDS_TO_HIGHER_NUMBERS", &mut switches.yields_to_higher_numbers),
        ("STANDIN_LOG_HELD_FOR_ABSENT_REPLICAS", &mut switches.log_held_for_absent_replicas),
        ("STANDIN_ALTER_TRIGGER_ENABLES", &mut switches.alter_trigger_enables),
        ("STANDIN_LOGON_TRIGGERS_FIRE_FOR_POOLS", &mut switches.logon_triggers_fire_for_pools),
        ("STANDIN_OUTSIDE_GROUPS_PRIMARY_IS_NULL", &mut switches.outside_groups_primary_is_null),
        ("STANDIN_FORWARDER_IS_PRIMARY_REPLICA", &mut switches.forwarder_is_primary_replica),
        ("STANDIN_FORCED_SIDE_SUSPENDS", &mut switches.forced_side_suspends),
        ("STANDIN_FORWARDER_AHEAD_IS_STUCK", &mut switches.forwarder_ahead_is_stuck),
    ] {
        turn(&variable, name, switch)?;
    }
    if let Some(seconds) = number(&variable, "STANDIN_RETURNS_BY_ITSELF", "seconds")? {
        switches.returns_by_itself = Some(Duration::from_secs(seconds));
    }
    if let Some(millis) = number(&variable, "STANDIN_ROLE_DELAY", "milliseconds")? {
        switches.role_delay = Duration::from_millis(millis);
    }
    if let Some(seconds) = number(&variable, "STANDIN_STUCK_41104", "seconds")? {
        switches.stuck_41104 = Some(Duration::from_secs(seconds));
    }
    Ok(Faults::new(switches))
}

impl Settings {
    /// Reads variables and the file. Errors say which one is wrong.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let folder = PathBuf::from(variable("STANDIN_ROOT").unwrap_or_else(|| "/var/opt/mssql".into()));
        let file = match fs::read_to_string(folder.join("mssql.conf")) {
            Ok(text) => parse(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(format!("{}: {error}", folder.join("mssql.conf").display())),
        };
        let value = |name: &str, key: &str| variable(name).filter(|v| !v.is_empty()).or_else(|| file.get(key).cloned());
        let data =
            value("MSSQL_DATA_DIR", "filelocation.defaultdatadir").map_or_else(|| folder.join("data"), PathBuf::from);
        let first_start = !data.join("catalog.json").exists();
        if first_start && value("ACCEPT_EULA", "eula.accepteula").is_none() {
            return Err("ACCEPT_EULA is not set: the licence was not accepted".into());
        }
        let sa_password = variable("MSSQL_SA_PASSWORD").or_else(|| variable("SA_PASSWORD")).unwrap_or_default();
        if first_start && sa_password.chars().count() < 8 {
            return Err("MSSQL_SA_PASSWORD is missing or shorter than eight characters".into());
        }
        let port = value("MSSQL_TCP_PORT", "network.tcpport").map_or(Ok(1433), |text| text.parse::<u16>());
        let port = port.map_err(|_| "MSSQL_TCP_PORT is not a port".to_string())?;
        let certificate = match (file.get("network.tlscert"), file.get("network.tlskey")) {
            (Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
            (None, None) => None,
            _ => return Err("mssql.conf: network.tlscert and network.tlskey belong together".into()),
        };
        let host = variable("HOSTNAME").filter(|name| !name.is_empty());
        let host = host.or_else(|| fs::read_to_string("/proc/sys/kernel/hostname").ok().map(|name| name.trim().into()));
        Ok(Self {
            data,
            host: host.unwrap_or_else(|| "localhost".into()),
            port,
            sa_password,
            hadr: value("MSSQL_ENABLE_HADR", "hadr.hadrenabled").is_some_and(|text| switched_on(&text)),
            collation: value("MSSQL_COLLATION", "language.collation")
                .unwrap_or_else(|| "SQL_Latin1_General_CP1_CI_AS".into()),
            edition: standin::instance::edition(&variable("MSSQL_PID").unwrap_or_default())?,
            version: variable("STANDIN_VERSION").unwrap_or_else(|| "16.0.4225.2".into()),
            certificate,
            force_encryption: file.get("network.forceencryption").is_some_and(|text| switched_on(text)),
            faults: faults(&variable)?,
            folder,
        })
    }

    /// The instance that these settings describe.
    pub fn instance(&self) -> instance::Config {
        instance::Config {
            server_name: self.host.clone(),
            version: self.version.clone(),
            edition: self.edition.0.into(),
            engine_edition: self.edition.1,
            hadr_enabled: self.hadr,
            disk: instance::Disk::Folder(self.data.clone()),
            collation: self.collation.clone(),
            seed: rand::random(),
        }
    }
}

/// Milliseconds since the host started.
pub fn uptime() -> u64 {
    let text = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds: f64 = text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(1.0);
    (seconds * 1_000.0) as u64
}

/// The errorlog: stdout and `log/errorlog`.
struct ErrorLog(Mutex<fs::File>);

impl io::Write for &ErrorLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::stdout().write_all(bytes)?;
        let mut file = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        file.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for ErrorLog {
    type Writer = &'a ErrorLog;
    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

struct Clock;

impl FormatTime for Clock {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
        write!(writer, "{}", now.strftime("%Y-%m-%d %H:%M:%S%.2f"))
    }
}

/// Starts the errorlog; the one before is kept as `errorlog.1`.
pub fn log_to(folder: &Path) -> io::Result<()> {
    let folder = folder.join("log");
    fs::create_dir_all(&folder)?;
    let path = folder.join("errorlog");
    if path.exists() {
        fs::rename(&path, folder.join("errorlog.1"))?;
    }
    let log = ErrorLog(Mutex::new(fs::File::create(path)?));
    let filter = tracing_subscriber::EnvFilter::try_from_env("STANDIN_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_timer(Clock)
        .with_ansi(false)
        .with_target(false)
        .with_writer(log)
        .init();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_sections_and_keys() {
        let values = parse("[network]\ntlscert = /a.pem\n# no\n[hadr]\nhadrenabled=1\n");
        assert_eq!(values.get("network.tlscert").map(String::as_str), Some("/a.pem"));
        assert_eq!(values.get("hadr.hadrenabled").map(String::as_str), Some("1"));
    }

    #[test]
    fn what_is_missing_at_the_first_start_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().display().to_string();
        let read = |more: &'static [(&'static str, &'static str)]| {
            let root = root.clone();
            Settings::read(move |name| {
                if name == "STANDIN_ROOT" {
                    return Some(root.clone());
                }
                more.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_string())
            })
        };
        assert!(read(&[]).err().unwrap().contains("ACCEPT_EULA"));
        assert!(read(&[("ACCEPT_EULA", "Y")]).err().unwrap().contains("MSSQL_SA_PASSWORD"));
        let bad = [("ACCEPT_EULA", "Y"), ("MSSQL_SA_PASSWORD", "Secret-1-word"), ("MSSQL_PID", "gold")];
        let leaked: &'static [_] = Box::leak(Box::new(bad));
        assert!(read(leaked).err().unwrap().contains("MSSQL_PID"));
    }

    fn switches(name: &'static str, value: &'static str) -> Result<Switches, String> {
        faults(move |asked| (asked == name).then(|| value.to_string())).map(|faults| faults.get())
    }

    #[test]
    fn a_switch_is_turned_by_its_variable_and_a_bad_value_is_named() {
        type Read = fn(&Switches) -> bool;
        let all: [(&'static str, Read); 10] = [
            ("STANDIN_FOLLOWS_LOWER_NUMBERS", |s| s.follows_lower_numbers),
            ("STANDIN_RESTARTS_AS_PRIMARY", |s| s.restarts_as_primary),
            ("STANDIN_CONFIGURATION_ONLY_ACCEPTS_OFFLINE", |s| s.configuration_only_accepts_offline),
            ("STANDIN_DENY_CUTS_CONNECTIONS", |s| s.deny_cuts_connections),
            ("STANDIN_CHECKS_OUTBOUND", |s| s.checks_outbound),
            ("STANDIN_COMMIT_QUORUM_BESIDE_CONFIGURATION_ONLY", |s| s.commit_quorum_beside_configuration_only),
            ("STANDIN_JOINS_RESOLVING", |s| s.joins_resolving),
            ("STANDIN_SET_ROLE_NEEDS_PRIMARY", |s| s.set_role_needs_primary),
            ("STANDIN_YIELDS_TO_HIGHER_NUMBERS", |s| s.yields_to_higher_numbers),
            ("STANDIN_LOG_HELD_FOR_ABSENT_REPLICAS", |s| s.log_held_for_absent_replicas),
        ];
        for (name, read) in all {
            for (word, on) in [("1", true), ("TRUE", true), ("on", true), ("0", false), ("No", false), ("off", false)] {
                assert_eq!(read(&switches(name, word).unwrap()), on, "{name}={word}");
            }
            for word in ["", "maybe", "2"] {
                assert_eq!(switches(name, word).err(), Some(format!("{name}: '{word}' is not on or off")));
            }
        }
    }

    #[test]
    fn switches_that_take_a_time_or_a_name_read_it_and_name_a_bad_one() {
        let stuck = switches("STANDIN_STUCK_41104", "30").unwrap();
        assert_eq!(stuck.stuck_41104, Some(Duration::from_secs(30)));
        assert_eq!(
            switches("STANDIN_RETURNS_BY_ITSELF", "69").unwrap().returns_by_itself,
            Some(Duration::from_secs(69))
        );
        assert_eq!(switches("STANDIN_ROLE_DELAY", "20").unwrap().role_delay, Duration::from_millis(20));
        let engine = switches("STANDIN_FAILOVER", "majority-before-promotion").unwrap().failover;
        assert_eq!(engine, FailoverEngine::MajorityBeforePromotion);
        for (name, unit) in [
            ("STANDIN_STUCK_41104", "seconds"),
            ("STANDIN_RETURNS_BY_ITSELF", "seconds"),
            ("STANDIN_ROLE_DELAY", "milliseconds"),
        ] {
            for word in ["", "-1", "ten", "1s"] {
                assert_eq!(switches(name, word).err(), Some(format!("{name}: '{word}' is not a number of {unit}")));
            }
        }
        assert!(switches("STANDIN_FAILOVER", "quick").err().unwrap().starts_with("STANDIN_FAILOVER: 'quick' is not"));
        let none = faults(|_| None).unwrap().get();
        assert_eq!(format!("{none:?}"), format!("{:?}", Switches::default()));
    }
}
