//! What this process uses, and what there is, as Linux tells it; elsewhere nothing is known.

use rustix::process::{Resource, getrlimit};
use std::fs;
use std::path::{Path, PathBuf};

/// Our resident memory, in bytes.
pub fn resident() -> Option<u64> {
    kibibytes(&fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

/// Our open descriptors, and how many there may be.
pub fn descriptors() -> Option<(u64, u64)> {
    // since Linux 6.2 the folder says how many there are
    let open = match fs::metadata("/proc/self/fd").ok()?.len() {
        0 => u64::try_from(fs::read_dir("/proc/self/fd").ok()?.count()).ok()?,
        many => many,
    };
    Some((open, getrlimit(Resource::Nofile).current?))
}

/// The memory that we may have, in bytes: that of the machine, or of a control group we are in.
pub fn memory() -> Option<u64> {
    let machine = kibibytes(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")?;
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    Some(limits(&groups).into_iter().fold(machine, u64::min))
}

fn kibibytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The limits of the control groups (version 2) that we are in, the outer ones too.
fn limits(groups: &str) -> Vec<u64> {
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let root = Path::new("/sys/fs/cgroup");
    let inner: PathBuf = root.join(own);
    let within = inner.ancestors().take_while(|group| group.starts_with(root));
    let read = |group: &Path| fs::read_to_string(group.join("memory.max")).ok();
    within.filter_map(read).filter_map(|text| text.trim().parse().ok()).collect()
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells_what_we_use() {
        let (resident, memory) = (resident().expect("memory"), memory().expect("of the machine"));
        assert!(resident > 1 << 20 && resident < memory, "{resident} of {memory}");
        let (before, limit) = descriptors().expect("descriptors");
        let files: Vec<_> = (0..64).filter_map(|_| fs::File::open("/dev/null").ok()).collect();
        let (open, _) = descriptors().expect("descriptors");
        assert_eq!(files.len(), 64);
        assert!(before > 2 && open > 64 && open < limit, "{before}, {open} of {limit}");
        assert_eq!(kibibytes("A:  3 kB\nB:\t12 kB\n", "B:"), Some(12 << 10));
        assert_eq!(kibibytes("B: many kB", "B:"), None);
    }
}
