//! Where an instance keeps its files: a folder, or memory for stories. What is written here is synced: it survives a
//! crash at any later moment; a crash in the middle of a write leaves the old bytes or a torn tail.

use std::{
    collections::BTreeMap,
    fs, io,
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// Files in memory that survive the instance.
#[derive(Debug, Default)]
pub struct MemoryDisk(Mutex<BTreeMap<String, Vec<u8>>>);

/// A disk.
#[derive(Clone, Debug)]
pub enum Disk {
    /// A folder of the file system.
    Folder(PathBuf),
    /// Memory.
    Memory(Arc<MemoryDisk>),
}

impl Disk {
    /// A new disk in memory.
    pub fn memory() -> Self {
        Self::Memory(Arc::default())
    }

    fn path(folder: &Path, name: &str) -> PathBuf {
        // Names of databases are user text: nothing of them may walk the file system.
        let safe: String = name
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || "._-".contains(c) { c.to_string() } else { format!("%{:x}", c as u32) }
            })
            .collect();
        folder.join(safe)
    }

    /// All bytes of a file. `None`: it does not exist.
    pub fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match self {
            Self::Folder(folder) => match fs::read(Self::path(folder, name)) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            },
            Self::Memory(disk) => Ok(disk.files().get(name).cloned()),
        }
    }

    /// Replaces a file as a whole, or leaves the old one.
    pub fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Folder(folder) => {
                fs::create_dir_all(folder)?;
                let target = Self::path(folder, name);
                let new = Self::path(folder, &format!("{name}.new"));
                let mut file = fs::File::create(&new)?;
                file.write_all(bytes)?;
                file.sync_all()?;
                fs::rename(&new, &target)?;
                fs::File::open(folder)?.sync_all()
            }
            Self::Memory(disk) => {
                disk.files().insert(name.into(), bytes.to_vec());
                Ok(())
            }
        }
    }

    /// Adds bytes at the end of a file.
    pub fn append(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Folder(folder) => {
                let mut file = fs::OpenOptions::new().create(true).append(true).open(Self::path(folder, name))?;
                file.write_all(bytes)?;
                file.sync_data()
            }
            Self::Memory(disk) => {
                disk.files().entry(name.into()).or_default().extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// Removes a file; one that is not there is removed.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        match self {
            Self::Folder(folder) => match fs::remove_file(Self::path(folder, name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            },
            Self::Memory(disk) => {
                disk.files().remove(name);
                Ok(())
            }
        }
    }
}

impl MemoryDisk {
    fn files(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
