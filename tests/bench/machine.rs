//! What a figure depends on besides the programs.

use std::fs;

fn line(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|error| format!("unknown ({error})"), |text| text.trim().to_owned())
}

/// Lines of Markdown: kernel, processor, JIT, mitigations.
pub fn describe() -> String {
    let cpuinfo = line("/proc/cpuinfo");
    let field = |name| cpuinfo.lines().filter(move |line| line.starts_with(name));
    let model =
        field("model name").next().and_then(|line| line.split_once(": ")).map_or("unknown", |it| it.1);
    let count = field("processor").count();
    let mut mitigations: Vec<String> = fs::read_dir("/sys/devices/system/cpu/vulnerabilities")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| {
            (entry.file_name().to_string_lossy().into_owned(), line(&entry.path().to_string_lossy()))
        })
        .filter(|(_, state)| state != "Not affected")
        .map(|(name, state)| format!("{name}: {state}"))
        .collect();
    mitigations.sort();
    format!(
        "* Linux {}, {count} × {model}\n* JIT on; mitigations: {}",
        line("/proc/sys/kernel/osrelease"),
        if mitigations.is_empty() { "none".to_owned() } else { mitigations.join("; ") }
    )
}
