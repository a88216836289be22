//! A description of the machine: a figure means little without it.

/// The machine on which the figures were measured.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The name of the processor.
    pub processor: String,
    /// The number of cores that this program may use.
    pub cores: usize,
    /// The memory in bytes, if the system reports it.
    pub memory_bytes: Option<u64>,
    /// The operating system and its version.
    pub system: String,
    /// The system's limits for the experiments, each with its name: descriptors, ports, threads.
    pub limits: Vec<(&'static str, String)>,
    /// The load at the beginning: processes that wanted to run, averaged over a minute.
    pub load_before: Option<f64>,
    /// The load at the end.
    pub load_after: Option<f64>,
    /// The share of all processors that other programs used in the meantime, if the system reports it.
    pub others_percent: Option<f64>,
}

impl Machine {
    /// Describes the machine before anything is measured.
    #[must_use]
    pub fn describe() -> Self {
        Self {
            processor: processor(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: memory_bytes(),
            system: system(),
            limits: limits(),
            load_before: system_load(),
            load_after: None,
            others_percent: None,
        }
    }

    /// Reports whether other programs used more than 5 % of the processors, so that the figures are less
    /// reliable.
    #[must_use]
    pub fn was_busy(&self) -> bool {
        self.others_percent.is_some_and(|percent| percent > 5.0)
    }
}

/// Returns the load: processes that want to run, averaged over the last minute, if the system reports it.
#[must_use]
pub fn system_load() -> Option<f64> {
    read("/proc/loadavg")?.split_whitespace().next()?.parse().ok()
}

fn processor() -> String {
    let info = read("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = info.lines().find(|line| line.split(':').next().unwrap_or("").trim() == name)?;
        Some(line.split_once(':')?.1.trim().to_owned()).filter(|value| !value.is_empty())
    };
    field("model name")
        // The name of the board on ARM; then the fields of POWER and RISC-V.
        .or_else(|| read("/sys/firmware/devicetree/base/model"))
        .or_else(|| field("Model"))
        .or_else(|| field("Hardware"))
        .or_else(|| field("cpu"))
        .or_else(|| field("uarch"))
        .or_else(|| {
            let (maker, part) = (field("CPU implementer")?, field("CPU part")?);
            Some(format!("{} by maker {maker}, part {part}", std::env::consts::ARCH))
        })
        .or_else(processor_of_macos)
        .map_or_else(|| std::env::consts::ARCH.to_owned(), |name| tidy(&name))
}

fn processor_of_macos() -> Option<String> {
    if !cfg!(target_os = "macos") {
        return None;
    }
    let mut command = std::process::Command::new("sysctl");
    let output = command.args(["-n", "machdep.cpu.brand_string"]).output().ok()?;
    String::from_utf8(output.stdout).ok().filter(|name| !name.trim().is_empty())
}

/// Removes the blanks that pad the name of a processor, and the zero byte after the name of a board.
fn tidy(name: &str) -> String {
    name.trim_end_matches('\0').split_whitespace().collect::<Vec<_>>().join(" ")
}

fn memory_bytes() -> Option<u64> {
    let info = read("/proc/meminfo")?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    let allowed = cgroup("memory.max").and_then(|limit| limit.parse().ok());
    Some(allowed.unwrap_or(u64::MAX).min(kib * 1024))
}

fn system() -> String {
    let release = read("/etc/os-release").unwrap_or_default();
    let pretty = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let pretty = pretty.map(|name| format!("{}, ", name.trim_matches('"'))).unwrap_or_default();
    format!("{pretty}{}", kernel())
}

#[cfg(unix)]
fn kernel() -> String {
    let name = rustix::system::uname();
    [name.sysname(), name.release(), name.machine()].map(|part| part.to_string_lossy()).join(" ")
}

#[cfg(not(unix))]
fn kernel() -> String {
    [std::env::consts::OS, std::env::consts::ARCH].join(" ")
}

fn limits() -> Vec<(&'static str, String)> {
    let mut limits = Vec::new();
    let mut add = |what, limit: Option<String>| {
        limits.extend(limit.map(|limit| (what, limit)));
    };
    // Raises the limit as far as the system allows; the servers inherit it.
    let descriptors = rlimit::increase_nofile_limit(u64::MAX).ok();
    add("descriptors of a process", descriptors.map(|limit| limit.to_string()));
    add("connections that wait for accept", read("/proc/sys/net/core/somaxconn"));
    let ports = read("/proc/sys/net/ipv4/ip_local_port_range");
    add(
        "ports for clients",
        ports.map(|ports| ports.split_whitespace().collect::<Vec<_>>().join("-")),
    );
    add("threads of all programs", read("/proc/sys/kernel/threads-max"));
    add("process numbers", read("/proc/sys/kernel/pid_max"));
    add("threads of this group", cgroup("pids.max").filter(|limit| limit != "max"));
    add("memory maps of a process", read("/proc/sys/vm/max_map_count"));
    limits
}

/// Reads a limit of the control group of this process, or of the nearest group above that has it.
fn cgroup(file: &str) -> Option<String> {
    let own = read("/proc/self/cgroup")?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    let mut folder = std::path::Path::new("/sys/fs/cgroup").join(path.trim_start_matches('/'));
    while folder.starts_with("/sys/fs/cgroup") {
        if let Some(found) = read(folder.join(file).to_str()?).filter(|found| found != "max") {
            return Some(found);
        }
        folder.pop();
    }
    None
}

fn read(path: &str) -> Option<String> {
    let text = probe::procfs::read(path)?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// A measurement of the processor time of all other programs, which begins with [`watch`](Self::watch).
///
/// It does not count the kernel's time for interrupts, because on loopback that time is a part of the load.
#[derive(Clone, Debug)]
pub struct OtherPrograms {
    cores: Vec<usize>,
    before: Option<Ticks>,
}

#[derive(Clone, Copy, Debug)]
struct Ticks {
    all: u64,
    busy: u64,
    /// Used by this program and by its children that have ended.
    own: u64,
}

impl OtherPrograms {
    /// Begins the measurement on these cores, or on all cores if the list is empty.
    #[must_use]
    pub fn watch(cores: Vec<usize>) -> Self {
        let before = Ticks::now(&cores);
        Self { cores, before }
    }

    /// Returns the share of the processor time that other programs have used so far, in percent, if the system
    /// reports it.
    ///
    /// A process that this program has started counts as another program until it has ended and was waited for,
    /// so all of them must have ended.
    #[must_use]
    pub fn percent(&self) -> Option<f64> {
        let (before, now) = (self.before?, Ticks::now(&self.cores)?);
        let others = (now.busy - before.busy).saturating_sub(now.own - before.own);
        let all = u32::try_from(now.all - before.all).ok().filter(|all| *all > 0)?;
        Some(f64::from(u32::try_from(others).ok()?) / f64::from(all) * 100.0)
    }
}

impl Ticks {
    fn now(cores: &[usize]) -> Option<Self> {
        let (mut all, mut busy) = (0, 0);
        let stat = read("/proc/stat")?;
        for line in stat.lines() {
            let Some(rest) = line.strip_prefix("cpu") else { continue };
            let mut fields = rest.split_whitespace();
            // The first line, the sum of all cores, has a blank in place of a core's number: it is skipped.
            let Some(core) = rest.chars().next().filter(char::is_ascii_digit).and(fields.next())
            else {
                continue;
            };
            if !cores.is_empty() && !cores.iter().any(|wanted| core == wanted.to_string()) {
                continue;
            }
            let times: Vec<u64> = fields.take(8).filter_map(|field| field.parse().ok()).collect();
            let [user, nice, system, _idle, _iowait, _irq, _softirq, steal] = times[..] else {
                return None;
            };
            all += times.iter().sum::<u64>();
            busy += user + nice + system + steal;
        }
        let own = read("/proc/self/stat")?;
        let fields = own.rsplit_once(')')?.1.split_whitespace().skip(11).take(4);
        let own = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
        Some(Self { all, busy, own })
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_described() {
        let machine = Machine::describe();
        assert!(!machine.processor.is_empty() && !machine.processor.contains('\0'));
        assert!(machine.cores >= 1);
        assert!(machine.memory_bytes.is_some_and(|bytes| bytes > 1 << 20));
        assert!(machine.system.contains("Linux"), "{}", machine.system);
        assert!(machine.limits.iter().any(|(what, _)| what.starts_with("descriptors")));
        assert!(machine.load_before.is_some());
    }
}
