//! kubectl, faults and waiting. Everything that fails says what it saw.

use std::fmt::Debug;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

/// The lab's program; `cargo lab exec` puts it on the path.
pub(crate) fn lab(arguments: &[&str]) -> String {
    assert!(std::env::var_os("QUORATE_LAB").is_some(), "run this on the lab: cargo lab test");
    succeed(Command::new("lab").args(arguments), None)
}

pub(crate) fn kubectl(arguments: &[&str]) -> String {
    succeed(Command::new("kubectl").args(arguments), None)
}

/// The output, or the error text, for commands that may fail.
pub(crate) fn try_kubectl(arguments: &[&str]) -> Result<String, String> {
    attempt(Command::new("kubectl").args(arguments), None)
}

pub(crate) fn kubectl_json(arguments: &[&str]) -> Value {
    let text = kubectl(&[arguments, &["--output=json"]].concat());
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("kubectl {arguments:?} answered {text}: {error}"))
}

pub(crate) fn try_kubectl_json(arguments: &[&str]) -> Result<Value, String> {
    let text = try_kubectl(&[arguments, &["--output=json"]].concat())?;
    serde_json::from_str(&text).map_err(|error| format!("{text}: {error}"))
}

pub(crate) fn apply(manifest: &str) {
    succeed(Command::new("kubectl").args(["apply", "--filename=-"]), Some(manifest));
}

/// Like [`apply`], for manifests that may be refused.
pub(crate) fn try_apply(manifest: &str) -> Result<String, String> {
    attempt(Command::new("kubectl").args(["apply", "--filename=-"]), Some(manifest))
}

fn succeed(command: &mut Command, input: Option<&str>) -> String {
    attempt(command, input).unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

fn attempt(command: &mut Command, input: Option<&str>) -> Result<String, String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let mut stdin = child.stdin.take().unwrap();
    // A program that does not read its input is no failure by itself.
    let _ = stdin.write_all(input.unwrap_or_default().as_bytes());
    drop(stdin);
    let Output { status, stdout, stderr } = child.wait_with_output().map_err(|error| error.to_string())?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    if status.success() { Ok(text(stdout)) } else { Err(format!("{}{}", text(stdout), text(stderr)).trim().to_owned()) }
}

/// Looks every 50 ms until `look` gives a value; fails with its last `Err` after `seconds`.
pub(crate) fn wait_until<T, E: Debug>(seconds: u64, what: &str, mut look: impl FnMut() -> Result<T, E>) -> T {
    let began = Instant::now();
    loop {
        match look() {
            Ok(value) => {
                println!("{:>6.1} s  {what}", began.elapsed().as_secs_f64());
                return value;
            }
            Err(seen) if began.elapsed() > Duration::from_secs(seconds) => {
                panic!("not within {seconds} s: {what}; last seen: {seen:?}")
            }
            Err(_) => sleep(Duration::from_millis(50)),
        }
    }
}

pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The status of a condition: `True`, `False`, `Unknown`, or empty.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> &'a str {
    of_condition(object, kind, "/status")
}

/// The reason of a condition, or empty.
pub(crate) fn reason<'a>(object: &'a Value, kind: &str) -> &'a str {
    of_condition(object, kind, "/reason")
}

fn of_condition<'a>(object: &'a Value, kind: &str, pointer: &str) -> &'a str {
    let list = object.pointer("/status/conditions").and_then(Value::as_array);
    let found = list.and_then(|list| list.iter().find(|condition| condition["type"] == kind));
    found.map_or("", |condition| text(condition, pointer))
}

pub(crate) fn wait_for_condition(seconds: u64, object: &[&str], kind: &str, status: &str) -> Value {
    wait_until(seconds, &format!("{} {kind}={status}", object.join(" ")), || {
        let found = try_kubectl_json(&[&["get"], object].concat())?;
        if condition(&found, kind) == status { Ok(found) } else { Err(found["status"].to_string()) }
    })
}

/// A namespace that is gone when the test ends, also if it fails.
pub(crate) struct Namespace(pub(crate) &'static str);

impl Namespace {
    /// `restricted` Pod Security is enforced in it, as on a careful cluster.
    pub(crate) fn new(name: &'static str) -> Self {
        Self(name).empty();
        kubectl(&["delete", "namespace", name, "--ignore-not-found", "--timeout=240s"]);
        apply(&format!(
            "{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}, labels: {{pod-security.kubernetes.io/enforce: restricted}}}}}}"
        ));
        Self(name)
    }

    /// Whatever makes pods goes first, and its pods: a namespace with a pod that may take 120 s to end is looked at again
    /// after 61 s only.
    fn empty(&self) {
        for makers in ["availabilitygroups", "statefulsets", "deployments"] {
            let _ = try_kubectl(&["delete", makers, "--all", "-n", self.0, "--timeout=60s"]);
        }
        let _ = try_kubectl(&["wait", "--for=delete", "pods", "--all", "-n", self.0, "--timeout=60s"]);
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // What the next reader of the log will want to know first.
            for kind in ["pods", "events", "availabilitygroups"] {
                println!("{}", try_kubectl(&["get", kind, "-n", self.0, "-o", "wide"]).unwrap_or_else(|error| error));
            }
        }
        self.empty();
        let _ = try_kubectl(&["delete", "namespace", self.0, "--wait=false"]);
    }
}

/// Undoes faults when the test ends, also if it fails.
pub(crate) struct Healed;

impl Drop for Healed {
    fn drop(&mut self) {
        for node in ["n1", "n2", "n3"] {
            let _ = attempt(Command::new("kubectl").args(["uncordon", node]), None);
        }
        for arguments in [["heal", "", ""], ["node", "on", "n1"], ["node", "on", "n2"], ["node", "on", "n3"]] {
            let arguments = arguments.iter().filter(|argument| !argument.is_empty());
            let _ = attempt(Command::new("lab").args(arguments), None);
        }
    }
}

pub(crate) fn fault(kind: &str, namespace: &str, pod: &str) {
    lab(&["fault", kind, pod, "--namespace", namespace]);
}

pub(crate) fn node_off(node: &str) {
    lab(&["node", "off", node]);
}

pub(crate) fn node_on(node: &str) {
    lab(&["node", "on", node]);
}
