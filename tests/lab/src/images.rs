//! Container images from scratch, without a container engine: one layer, the archive form of `docker save`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::binaries::{self, Binaries};
use crate::cargo::Build;
use crate::error::{AtPath as _, Error, Result};
use crate::progress::Progress;
use crate::shell;

pub(crate) const QUORATE: &str = "lab.local/quorate:dev";
pub(crate) const STANDIN: &str = "lab.local/sqlservr:dev";
pub(crate) const LAB: &str = "lab.local/lab:dev";
/// The user of SQL Server's own image; the others use it too.
const USER: u64 = 10001;

/// What one image consists of.
struct Recipe<'a> {
    /// Name with its tag.
    name: &'a str,
    binary: &'a Path,
    /// Where the binary is in the image, without the leading slash.
    path: &'a str,
    /// Directories the user of the image may write to.
    writable: &'a [&'a str],
}

/// The images without which no pod runs; archives in the cache.
pub(crate) fn base(binaries: &Binaries) -> Result<Vec<PathBuf>> {
    [
        Recipe { name: "lab.local/pause:1", binary: &binaries.pause, path: "pause", writable: &[] },
        Recipe { name: "lab.local/coredns:1", binary: &binaries.coredns, path: "coredns", writable: &[] },
    ]
    .iter()
    .map(|recipe| archive(recipe, &binaries::cache()?))
    .collect()
}

/// Builds the programs of the tree, which are static, and their images.
///
/// The profile is that of the tests: what they compile is what the images hold, and little is left to compile.
pub(crate) fn workspace(progress: Progress) -> Result<Vec<PathBuf>> {
    programs(&["build", "--locked", "--workspace", "--bins"], progress)
}

/// As [`workspace`], and the cluster tests; with their choice of features, under which all tests are compiled already.
pub(crate) fn with_cluster_tests(progress: Progress) -> Result<Vec<PathBuf>> {
    programs(&["build", "--locked", "--workspace", "--bins", "--test", "cluster"], progress)
}

fn programs(arguments: &[&str], progress: Progress) -> Result<Vec<PathBuf>> {
    let (build, cache) = (Build::of_the_tree()?, binaries::cache()?);
    let what = "building quorate, sqlservr and lab";
    progress.say(what);
    let directory = cache.join("programs");
    fs::create_dir_all(&directory).at(&directory)?;
    shell::long_job(&mut build.command(arguments), &directory.join("build.log"), what, progress)?;
    let built = |name: &str| build.program(name, &directory);
    let (quorate, standin, lab) = (built("quorate")?, built("sqlservr")?, built("lab")?);
    [
        Recipe { name: QUORATE, binary: &quorate, path: "usr/local/bin/quorate", writable: &[] },
        Recipe { name: STANDIN, binary: &standin, path: "opt/mssql/bin/sqlservr", writable: &["var/opt/mssql"] },
        Recipe { name: LAB, binary: &lab, path: "lab", writable: &["data"] },
    ]
    .iter()
    .map(|recipe| archive(recipe, &cache))
    .collect()
}

/// The name in an archive, to say what is being loaded; refuses what is no archive of an image.
pub(crate) fn name_of(file: &Path) -> Result<String> {
    let wrong = |why: &str| Error::refused(format!("{} is not an image archive: {why}", file.display()));
    let mut archive = tar::Archive::new(File::open(file).at(file)?);
    for entry in archive.entries().map_err(|error| wrong(&error.to_string()))? {
        let mut entry = entry.map_err(|error| wrong(&error.to_string()))?;
        if entry.path().is_ok_and(|path| path.ends_with("manifest.json")) {
            let mut text = String::new();
            entry.read_to_string(&mut text).map_err(|error| wrong(&error.to_string()))?;
            let manifest: serde_json::Value = serde_json::from_str(&text).map_err(|error| wrong(&error.to_string()))?;
            return match manifest.pointer("/0/RepoTags/0").and_then(|name| name.as_str()) {
                Some(name) => Ok(name.to_owned()),
                None => Err(wrong("it has no name; give one with `docker tag` before `docker save`")),
            };
        }
    }
    Err(wrong("there is no manifest.json in it"))
}

/// A copy under the hash of its content, so that a changed archive of the same name is loaded again.
pub(crate) fn into_cache(file: &Path) -> Result<PathBuf> {
    let images = binaries::cache()?.join("images");
    if file.parent() == Some(images.as_path()) {
        return Ok(file.to_path_buf());
    }
    fs::create_dir_all(&images).at(&images)?;
    let digest: String = hex(&fs::read(file).at(file)?).chars().take(16).collect();
    let copy = images.join(format!("loaded-{digest}.tar"));
    if !copy.exists() {
        let partial = copy.with_extension(format!("partial{}", std::process::id()));
        fs::copy(file, &partial).at(file)?;
        fs::rename(&partial, &copy).at(&copy)?;
    }
    Ok(copy)
}

fn archive(recipe: &Recipe<'_>, cache: &Path) -> Result<PathBuf> {
    let binary = fs::read(recipe.binary).at(recipe.binary)?;
    let layer = layer(recipe, &binary)?;
    let digest = hex(&layer);
    let images = cache.join("images");
    fs::create_dir_all(&images).at(&images)?;
    let short = recipe.name.rsplit('/').next().unwrap_or(recipe.name).replace(':', "-");
    let short_digest: String = digest.chars().take(16).collect();
    let file = images.join(format!("{short}-{short_digest}.tar"));
    if file.exists() {
        return Ok(file);
    }
    let config = serde_json::json!({
        "architecture": "amd64",
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": {
            "Entrypoint": [format!("/{}", recipe.path)],
            "User": format!("{USER}:{USER}"),
            "WorkingDir": "/",
            "Env": ["PATH=/usr/local/bin:/opt/mssql/bin:/"],
        },
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "lab"}],
    })
    .to_string();
    let manifest =
        serde_json::json!([{"Config": "config.json", "RepoTags": [recipe.name], "Layers": ["layer.tar"]}]).to_string();
    let mut whole = Layer::default();
    whole.file("manifest.json", manifest.as_bytes(), 0o644)?;
    whole.file("config.json", config.as_bytes(), 0o644)?;
    whole.file("layer.tar", &layer, 0o644)?;
    let partial = file.with_extension(format!("partial{}", std::process::id()));
    fs::write(&partial, whole.finish()?).at(&partial)?;
    fs::rename(&partial, &file).at(&file)?;
    Ok(file)
}

fn layer(recipe: &Recipe<'_>, binary: &[u8]) -> Result<Vec<u8>> {
    let mut layer = Layer::default();
    // Parents before children, each once, in a fixed order.
    let mut directories: BTreeMap<String, (u32, u64)> = BTreeMap::new();
    let mut with_parents = |path: &str, mode: u32, owner: u64| {
        for parent in Path::new(path).ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
            directories.entry(parent.to_string_lossy().into_owned()).or_insert((0o755, 0));
        }
        directories.insert(path.to_owned(), (mode, owner));
    };
    with_parents("etc", 0o755, 0);
    with_parents("tmp", 0o1777, 0);
    for path in recipe.writable {
        with_parents(path, 0o770, USER);
    }
    if let Some((parent, _)) = recipe.path.rsplit_once('/') {
        with_parents(parent, 0o755, 0);
    }
    for (path, (mode, owner)) in &directories {
        layer.directory(path, *mode, *owner)?;
    }
    let passwd = format!("root:x:0:0::/:/\nmssql:x:{USER}:{USER}::/:/\n");
    layer.file("etc/passwd", passwd.as_bytes(), 0o644)?;
    layer.file("etc/group", format!("root:x:0:\nmssql:x:{USER}:\n").as_bytes(), 0o644)?;
    layer.file(recipe.path, binary, 0o755)?;
    layer.finish()
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An archive in memory whose bytes depend on its content alone: no times, no names of users.
#[derive(Default)]
struct Layer(Option<tar::Builder<Vec<u8>>>);

impl Layer {
    fn append(&mut self, path: &str, kind: tar::EntryType, mode: u32, owner: u64, content: &[u8]) -> Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(owner);
        header.set_gid(owner);
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        let builder = self.0.get_or_insert_with(|| tar::Builder::new(Vec::new()));
        builder.append_data(&mut header, path, content).at(Path::new(path))
    }

    fn directory(&mut self, path: &str, mode: u32, owner: u64) -> Result<()> {
        self.append(&format!("{path}/"), tar::EntryType::Directory, mode, owner, &[])
    }

    fn file(&mut self, path: &str, content: &[u8], mode: u32) -> Result<()> {
        self.append(path, tar::EntryType::Regular, mode, 0, content)
    }

    fn finish(self) -> Result<Vec<u8>> {
        let builder = self.0.unwrap_or_else(|| tar::Builder::new(Vec::new()));
        builder.into_inner().at(Path::new("archive"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(binary: &Path) -> Recipe<'_> {
        Recipe { name: STANDIN, binary, path: "opt/mssql/bin/sqlservr", writable: &["var/opt/mssql"] }
    }

    #[test]
    fn a_layer_holds_parents_first_and_is_the_same_every_time() {
        let recipe = recipe(Path::new("unused"));
        let bytes = layer(&recipe, b"program").unwrap();
        assert_eq!(bytes, layer(&recipe, b"program").unwrap());
        assert_ne!(bytes, layer(&recipe, b"other").unwrap());
        let mut archive = tar::Archive::new(bytes.as_slice());
        let seen: Vec<(String, u32, u64)> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let header = entry.header();
                let path = entry.path().unwrap().to_string_lossy().into_owned();
                (path, header.mode().unwrap(), header.uid().unwrap())
            })
            .collect();
        let paths: Vec<&str> = seen.iter().map(|(path, ..)| path.as_str()).collect();
        let place = |path: &str| paths.iter().position(|seen| *seen == path).unwrap();
        assert!(place("opt/") < place("opt/mssql/"));
        assert!(place("opt/mssql/bin/") < place("opt/mssql/bin/sqlservr"));
        assert!(seen.contains(&("var/opt/mssql/".to_owned(), 0o770, USER)));
        assert!(seen.contains(&("opt/mssql/bin/sqlservr".to_owned(), 0o755, 0)));
        assert!(paths.contains(&"etc/passwd"));
    }

    #[test]
    fn an_archive_says_its_name_and_anything_else_is_refused() {
        let directory = std::env::temp_dir().join(format!("quorate-lab-image-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let binary = directory.join("binary");
        fs::write(&binary, b"program").unwrap();
        let file = archive(&recipe(&binary), &directory).unwrap();
        assert_eq!(name_of(&file).unwrap(), STANDIN);
        assert!(name_of(&binary).unwrap_err().to_string().contains("not an image archive"));
        assert!(name_of(&directory.join("absent")).unwrap_err().to_string().contains("absent"));
        fs::remove_dir_all(&directory).unwrap();
    }
}
