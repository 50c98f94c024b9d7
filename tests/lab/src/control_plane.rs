//! etcd, API server, controller manager, scheduler and the volume provisioner: plain processes in their namespace.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::error::{AtPath as _, Error, Result};
use crate::layout::{CONTROL_PLANE, DRIVER, GATEWAY, Layout, SERVICES};
use crate::{network, shell};

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Component {
    Etcd,
    KubeApiserver,
    KubeControllerManager,
    KubeScheduler,
    Provisioner,
}

/// In the order in which they start.
pub(crate) const ALL: [Component; 5] = [
    Component::Etcd,
    Component::KubeApiserver,
    Component::KubeControllerManager,
    Component::KubeScheduler,
    Component::Provisioner,
];

impl Component {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::KubeScheduler => "kube-scheduler",
            Self::Provisioner => "provisioner",
        }
    }

    fn namespace(self) -> &'static str {
        if self == Self::Provisioner { DRIVER } else { CONTROL_PLANE }
    }

    fn arguments(self, layout: &Layout) -> Vec<String> {
        match self {
            Self::Etcd => etcd(layout),
            Self::KubeApiserver => apiserver(layout),
            Self::KubeControllerManager => controller_manager(layout),
            Self::KubeScheduler => scheduler(layout),
            Self::Provisioner => vec!["provisioner".to_owned()],
        }
    }
}

fn etcd(layout: &Layout) -> Vec<String> {
    vec![
        "--name=lab".to_owned(),
        format!("--data-dir={}", layout.root().join("etcd").display()),
        "--listen-client-urls=http://127.0.0.1:2379".to_owned(),
        "--advertise-client-urls=http://127.0.0.1:2379".to_owned(),
        "--listen-peer-urls=http://127.0.0.1:2380".to_owned(),
        "--initial-advertise-peer-urls=http://127.0.0.1:2380".to_owned(),
        "--initial-cluster=lab=http://127.0.0.1:2380".to_owned(),
        // Nothing here has to survive a power failure of the real machine.
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
    ]
}

fn apiserver(layout: &Layout) -> Vec<String> {
    let pki = |file: &str| layout.pki().join(file).display().to_string();
    vec![
        "--etcd-servers=http://127.0.0.1:2379".to_owned(),
        "--bind-address=0.0.0.0".to_owned(),
        "--secure-port=6443".to_owned(),
        format!("--advertise-address={GATEWAY}"),
        format!("--service-cluster-ip-range={SERVICES}"),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        format!("--client-ca-file={}", pki("ca.crt")),
        format!("--tls-cert-file={}", pki("apiserver.crt")),
        format!("--tls-private-key-file={}", pki("apiserver.key")),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
        format!("--service-account-key-file={}", pki("sa.pub")),
        format!("--service-account-signing-key-file={}", pki("sa.key")),
        format!("--kubelet-certificate-authority={}", pki("ca.crt")),
        format!("--kubelet-client-certificate={}", pki("apiserver-kubelet.crt")),
        format!("--kubelet-client-key={}", pki("apiserver-kubelet.key")),
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        "--allow-privileged=true".to_owned(),
        "--enable-aggregator-routing=true".to_owned(),
        "--profiling=false".to_owned(),
        // Pods leave a lost node after 5 s instead of 5 minutes.
        "--default-not-ready-toleration-seconds=5".to_owned(),
        "--default-unreachable-toleration-seconds=5".to_owned(),
        "--shutdown-delay-duration=0s".to_owned(),
    ]
}

fn controller_manager(layout: &Layout) -> Vec<String> {
    let pki = |file: &str| layout.pki().join(file).display().to_string();
    vec![
        format!("--kubeconfig={}", pki("controller-manager.kubeconfig")),
        "--leader-elect=false".to_owned(),
        "--use-service-account-credentials=true".to_owned(),
        format!("--service-account-private-key-file={}", pki("sa.key")),
        format!("--root-ca-file={}", pki("ca.crt")),
        format!("--cluster-signing-cert-file={}", pki("ca.crt")),
        format!("--cluster-signing-key-file={}", pki("ca.key")),
        // At the default rate the controllers need 5 s to begin.
        "--kube-api-qps=500".to_owned(),
        "--kube-api-burst=1000".to_owned(),
        "--allocate-node-cidrs=false".to_owned(),
        "--node-monitor-period=500ms".to_owned(),
        // A lost node is noticed after 4 s instead of 40.
        "--node-monitor-grace-period=4s".to_owned(),
        "--controllers=*,-nodeipam,-node-route-controller,-service-lb-controller,-cloud-node-lifecycle".to_owned(),
    ]
}

fn scheduler(layout: &Layout) -> Vec<String> {
    let kubeconfig = layout.pki().join("scheduler.kubeconfig");
    vec![format!("--kubeconfig={}", kubeconfig.display()), "--leader-elect=false".to_owned()]
}

/// The component's process, if it runs.
pub(crate) fn pid(layout: &Layout, component: Component) -> Option<i32> {
    let pid = shell::read_pid(&layout.pid(component.name()))?;
    (shell::alive(pid) && network::holds(component.namespace(), pid)).then_some(pid)
}

/// Starts the component unless it runs.
pub(crate) fn start(layout: &Layout, component: Component) -> Result<()> {
    if pid(layout, component).is_some() {
        return Ok(());
    }
    if !network::exists(component.namespace()) {
        return Err(Error::refused("the lab is not up"));
    }
    let program = if component == Component::Provisioner {
        std::env::current_exe().at(Path::new("/proc/self/exe"))?
    } else {
        layout.programs().join(component.name())
    };
    let log = layout.log(component.name());
    let file = File::options().create(true).append(true).open(&log).at(&log)?;
    let errors = file.try_clone().at(&log)?;
    let namespace = format!("--net={}", network::file(component.namespace()).display());
    let mut command = Command::new("setsid");
    command.args(["nsenter", &namespace, "--"]).arg(program).args(component.arguments(layout));
    command.env("QUORATE_LAB_STATE", layout.root()).current_dir(layout.root());
    let child = command.stdin(Stdio::null()).stdout(file).stderr(errors).spawn();
    let child = child.map_err(|source| shell::start_error(&command, source))?;
    let (pid_file, pid) = (layout.pid(component.name()), i32::try_from(child.id()).unwrap_or_default());
    fs::write(&pid_file, pid.to_string()).at(&pid_file)?;
    // The process is the component's only once it has entered the namespace.
    shell::wait_until(5, component.name(), || match network::holds(component.namespace(), pid) {
        true => Ok(shell::Look::Done),
        false if shell::alive(pid) => Ok(shell::Look::NotYet("starting".to_owned())),
        false => Err(Error::refused(shell::tail(&log, 3))),
    })
}

/// Ends the component, politely or not.
pub(crate) fn stop(layout: &Layout, component: Component, first: Signal) -> Result<()> {
    if let Some(pid) = pid(layout, component) {
        shell::end(pid, first, Duration::from_secs(10))?;
    }
    let _ = fs::remove_file(layout.pid(component.name()));
    Ok(())
}
