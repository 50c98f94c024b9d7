//! Where an instance keeps its files: a folder, or memory for stories. What is written here is synced: it survives a
//! crash at any later moment; a crash in the middle of a write leaves the old bytes or a torn tail.

use std::{
    collections::BTreeMap,
    fs, io,
    io::Write,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// Files in memory that survive the instance.
#[derive(Debug, Default)]
pub struct MemoryDisk(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    files: BTreeMap<String, Vec<u8>>,
    /// Writes until the crash, and how much of the last one stays, in thousandths.
    crash: Option<(u64, u64)>,
    crashed: bool,
    writes: u64,
}

/// A disk as one life of an instance holds it: when that life is over, nothing more is written.
#[derive(Debug)]
pub struct Lease {
    disk: Disk,
    over: AtomicBool,
}

/// A disk.
#[derive(Clone, Debug)]
pub enum Disk {
    /// A folder of the file system.
    Folder(PathBuf),
    /// Memory.
    Memory(Arc<MemoryDisk>),
    /// One of the others, for one life of an instance.
    Leased(Arc<Lease>),
}

impl Disk {
    /// A new disk in memory.
    pub fn memory() -> Self {
        Self::Memory(Arc::default())
    }

    /// The same files for one life of an instance.
    #[must_use]
    pub fn lease(&self) -> Self {
        Self::Leased(Arc::new(Lease { disk: self.clone(), over: AtomicBool::new(false) }))
    }

    /// Ends the life that this lease was for.
    pub fn end(&self) {
        if let Self::Leased(lease) = self {
            lease.over.store(true, Ordering::SeqCst);
        }
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
            Self::Memory(disk) => Ok(disk.lock().files.get(name).cloned()),
            Self::Leased(lease) => lease.disk.read(name),
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
            Self::Memory(disk) => disk.change(|files, kept| {
                if kept.is_none_or(|kept| kept >= 500) {
                    files.insert(name.into(), bytes.to_vec());
                }
            }),
            Self::Leased(lease) => lease.disk()?.write(name, bytes),
        }
    }

    /// Adds bytes at the end of a file.
    pub fn append(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Folder(folder) => {
                let path = Self::path(folder, name);
                let new = !path.exists();
                if new {
                    fs::create_dir_all(folder)?;
                }
                let mut file = fs::OpenOptions::new().create(true).append(true).open(path)?;
                file.write_all(bytes)?;
                file.sync_data()?;
                if new { fs::File::open(folder)?.sync_all() } else { Ok(()) }
            }
            Self::Memory(disk) => disk.change(|files, kept| {
                let length = kept.map_or(bytes.len(), |kept| bytes.len() * kept as usize / 1_000);
                files.entry(name.into()).or_default().extend_from_slice(bytes.get(..length).unwrap_or(bytes));
            }),
            Self::Leased(lease) => lease.disk()?.append(name, bytes),
        }
    }

    /// Removes a file; one that is not there is removed.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        match self {
            Self::Folder(folder) => match fs::remove_file(Self::path(folder, name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            },
            Self::Memory(disk) => disk.change(|files, kept| {
                if kept.is_none_or(|kept| kept >= 500) {
                    files.remove(name);
                }
            }),
            Self::Leased(lease) => lease.disk()?.remove(name),
        }
    }
}

impl Lease {
    fn disk(&self) -> io::Result<&Disk> {
        if self.over.load(Ordering::SeqCst) { Err(io::Error::other("the instance ended")) } else { Ok(&self.disk) }
    }
}

impl MemoryDisk {
    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Crashes at a later write, of which `kept` thousandths reach the disk; every write after it fails.
    pub fn crash_at(&self, writes: u64, kept: u64) {
        self.lock().crash = Some((writes, kept));
    }

    /// Whether the crash happened.
    pub fn crashed(&self) -> bool {
        self.lock().crashed
    }

    /// Writes so far.
    pub fn writes(&self) -> u64 {
        self.lock().writes
    }

    /// The disk works again, with what reached it.
    pub fn repair(&self) {
        let mut memory = self.lock();
        (memory.crash, memory.crashed) = (None, false);
    }

    /// One write: `change` gets how much of it stays when the crash is now.
    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, Vec<u8>>, Option<u64>)) -> io::Result<()> {
        let mut memory = self.lock();
        if memory.crashed {
            return Err(io::Error::other("the disk is gone"));
        }
        memory.writes += 1;
        match memory.crash {
            Some((0, kept)) => {
                memory.crashed = true;
                change(&mut memory.files, Some(kept));
                Err(io::Error::other("the disk is gone"))
            }
            crash => {
                memory.crash = crash.map(|(writes, kept)| (writes - 1, kept));
                change(&mut memory.files, None);
                Ok(())
            }
        }
    }
}
