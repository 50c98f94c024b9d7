//! The kinds this server knows.

use serde_json::Value;

/// One served kind.
#[derive(Clone, Debug)]
pub struct Kind {
    /// API group, empty for core.
    pub group: String,
    /// API version.
    pub version: String,
    /// Name in paths.
    pub plural: String,
    /// `kind` of an object.
    pub kind: String,
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// Whether `status` is a subresource.
    pub status: bool,
    /// Whether `metadata.generation` counts changes of the spec.
    pub generation: bool,
    /// Whether an update must name the version it replaces.
    pub versioned_update: bool,
    /// `openAPIV3Schema` of a custom resource.
    pub schema: Option<Value>,
}

impl Kind {
    fn builtin(group: &str, version: &str, plural: &str, kind: &str) -> Self {
        Self {
            group: group.into(),
            version: version.into(),
            plural: plural.into(),
            kind: kind.into(),
            namespaced: true,
            status: false,
            generation: false,
            versioned_update: false,
            schema: None,
        }
    }

    fn with_status(mut self) -> Self {
        self.status = true;
        self
    }

    fn with_generation(mut self) -> Self {
        self.generation = true;
        self
    }

    fn cluster_wide(mut self) -> Self {
        self.namespaced = false;
        self
    }

    fn versioned(mut self) -> Self {
        self.versioned_update = true;
        self
    }

    /// The kinds of every cluster.
    pub fn builtins() -> Vec<Self> {
        vec![
            Self::builtin("", "v1", "namespaces", "Namespace").cluster_wide().with_status(),
            Self::builtin("", "v1", "nodes", "Node").cluster_wide().with_status(),
            Self::builtin("", "v1", "pods", "Pod").with_status().with_generation(),
            Self::builtin("", "v1", "services", "Service").with_status(),
            Self::builtin("", "v1", "configmaps", "ConfigMap"),
            Self::builtin("", "v1", "secrets", "Secret"),
            Self::builtin("", "v1", "serviceaccounts", "ServiceAccount"),
            Self::builtin("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim").with_status(),
            Self::builtin("apps", "v1", "statefulsets", "StatefulSet").with_status().with_generation(),
            Self::builtin("apps", "v1", "controllerrevisions", "ControllerRevision"),
            Self::builtin("batch", "v1", "jobs", "Job").with_status().with_generation(),
            Self::builtin("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice").with_generation(),
            Self::builtin("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
                .with_status()
                .with_generation()
                .versioned(),
            Self::builtin("coordination.k8s.io", "v1", "leases", "Lease").versioned(),
            Self::builtin("events.k8s.io", "v1", "events", "Event"),
        ]
    }

    /// The kinds of one `CustomResourceDefinition`, one for each served version.
    pub fn of_crd(crd: &Value) -> Vec<Self> {
        let spec = &crd["spec"];
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let versions = spec["versions"].as_array().cloned().unwrap_or_default();
        let served = versions.iter().filter(|version| version["served"] != Value::Bool(false));
        served
            .map(|version| Self {
                group: text(&spec["group"]),
                version: text(&version["name"]),
                plural: text(&spec["names"]["plural"]),
                kind: text(&spec["names"]["kind"]),
                namespaced: spec["scope"] == "Namespaced",
                status: version["subresources"]["status"].is_object(),
                generation: true,
                versioned_update: true,
                schema: version["schema"]["openAPIV3Schema"]
                    .is_object()
                    .then(|| version["schema"]["openAPIV3Schema"].clone()),
            })
            .collect()
    }

    /// `apiVersion` of an object.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `statefulsets.apps`, `pods`
    pub fn full_name(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }
}
