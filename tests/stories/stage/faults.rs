//! What may go wrong with replicas, nodes and the ways between them.

use super::Stage;
use crate::world::{apiserver::link::Delivery, random::Random};

impl Stage {
    fn fault(&self, what: String) {
        self.plane.history.note("fault", what);
    }

    /// SIGKILL to a replica's container.
    pub fn kill(&self, pod: &str) -> bool {
        self.cluster.kill_container("shop", pod)
    }

    /// A replica's volume is lost: what runs on it ends, and its next container finds an empty one.
    pub fn loses_its_volume(&self, pod: &str) {
        self.fault(format!("{pod} loses its volume"));
        self.host.wipe(pod);
        self.kill(pod);
    }

    /// Stops a replica's processes without ending them.
    pub fn freeze(&self, pod: &str) {
        self.fault(format!("{pod} freezes"));
        self.net.freeze(pod);
    }

    /// Lets them go on.
    pub fn thaw(&self, pod: &str) {
        self.fault(format!("{pod} goes on"));
        self.net.thaw(pod);
    }

    /// Nothing arrives between two hosts.
    pub fn cut(&self, one: &str, other: &str) {
        self.fault(format!("{one} and {other} are cut off from each other"));
        self.net.cut(one, other);
    }

    /// It does again.
    pub fn heal(&self, one: &str, other: &str) {
        self.fault(format!("{one} and {other} reach each other again"));
        self.net.heal(one, other);
    }

    /// Cuts a replica off from the other replicas and from operators; clients beside it still reach it.
    pub fn isolate(&self, pod: &str) {
        self.fault(format!("{pod} is cut off from everyone but its own clients"));
        let others: Vec<_> = self.pods().into_iter().filter(|other| other != pod).collect();
        for other in others.iter().map(String::as_str).chain(["operator", "second"]) {
            self.net.cut(pod, other);
        }
    }

    /// Events of an operator's watches are repeated, swapped, cut off with their watch, and, if it `loses`, lost.
    pub fn watches_fail(&self, operator: &str, loses: bool, mut random: Random) {
        self.fault(format!("the watches of {operator} fail now and then"));
        self.link(operator).set_courier(move |_| match random.below(8) {
            0 if loses => Delivery::Drop,
            1 => Delivery::Twice,
            2 => Delivery::Swap,
            3 => Delivery::Close,
            _ => Delivery::Pass,
        });
    }

    /// All ways are open again.
    pub fn heal_all(&self) {
        self.fault("every way is open again".into());
        self.net.heal_all();
    }

    /// The node of a pod loses its power.
    pub fn node_off(&self, node: &str) {
        for pod in self.plane.api.all("pods", "shop") {
            if pod["spec"]["nodeName"] == node {
                self.net.power_off(pod["metadata"]["name"].as_str().unwrap());
            }
        }
        self.cluster.power_off(node);
    }

    /// It has power again.
    pub fn node_on(&self, node: &str) {
        self.cluster.power_on(node);
    }

    /// The node that a pod is on, while it is on one.
    pub fn node_of(&self, pod: &str) -> Option<String> {
        self.cluster.node_of("shop", pod)
    }
}
