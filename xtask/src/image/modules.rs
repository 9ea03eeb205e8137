//! The kernel modules that vsock and virtio-serial need, in the order in which they have to be loaded.
//!
//! `modules.dep` (modules.dep(5)) says what each module needs, `modules.builtin` what the kernel holds already. In the image
//! they lie where the kernel's own tools would look for them, with a `modules.dep` of their own, and [`LIST`] names them in
//! order for whoever has no such tools.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::tree::{Content, Tree};

/// The file with the absolute path of one module a line, in load order.
pub const LIST: &str = "/etc/vsock-shell/modules";

/// Without these there is no vsock, and no virtio-serial.
const NEEDED: [&str; 3] = ["virtio_pci", "vmw_vsock_virtio_transport", "virtio_console"];
/// What some machines have: devices that are not on PCI, a guest that talks to itself, QEMU's credentials.
const WELCOME: [&str; 3] = ["virtio_mmio", "vsock_loopback", "qemu_fw_cfg"];

/// Puts the modules from `folder`, a kernel's `/lib/modules/RELEASE`, into the tree; tells how many.
///
/// # Errors
/// The folder has no `modules.dep`, the kernel lacks a needed module, or a file cannot be read.
pub fn put(tree: &mut Tree, folder: &Path) -> Result<usize> {
    let release =
        folder.file_name().and_then(|name| name.to_str()).context("a folder of modules needs a name")?;
    let read = |name: &str| fs::read_to_string(folder.join(name));
    let dependencies =
        read("modules.dep").with_context(|| format!("no modules.dep in {}", folder.display()))?;
    let index = Index::parse(&dependencies, &read("modules.builtin").unwrap_or_default());
    let order = index.load_order().with_context(|| format!("the kernel {release}"))?;

    let (mut list, mut kept) = (String::new(), String::new());
    for path in &order {
        let place = format!("/lib/modules/{release}/{path}");
        let file = folder.join(path);
        let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        tree.put(&place, 0o644, Content::File(bytes))?;
        list.push_str(&format!("{place}\n"));
        kept.push_str(&index.line(path));
    }
    tree.put_text(&format!("/lib/modules/{release}/modules.dep"), &kept)?;
    tree.put_text(LIST, &list)?;
    Ok(order.len())
}

/// What the two files say. Paths are relative to the folder; names are the modules' own, with underscores.
struct Index<'a> {
    paths: BTreeMap<String, &'a str>,
    needs: BTreeMap<&'a str, Vec<&'a str>>,
    builtin: BTreeSet<String>,
}

impl<'a> Index<'a> {
    fn parse(dependencies: &'a str, builtin: &str) -> Self {
        let lines = dependencies.lines().filter_map(|line| line.split_once(':'));
        let needs: BTreeMap<&str, Vec<&str>> =
            lines.map(|(path, rest)| (path, rest.split_whitespace().collect())).collect();
        let paths = needs.keys().map(|&path| (name(path), path)).collect();
        Self { paths, needs, builtin: builtin.lines().map(name).collect() }
    }

    /// The paths of all that is wanted and not built in, each after what it needs.
    fn load_order(&self) -> Result<Vec<&'a str>> {
        let mut order = Vec::new();
        let mut begun = BTreeSet::new();
        for wanted in NEEDED.into_iter().chain(WELCOME) {
            match self.paths.get(wanted) {
                Some(path) => self.visit(path, &mut begun, &mut order)?,
                None if self.builtin.contains(wanted) || WELCOME.contains(&wanted) => {}
                None => bail!("has no {wanted}, neither as a module nor built in"),
            }
        }
        Ok(order)
    }

    fn visit(&self, path: &'a str, begun: &mut BTreeSet<&'a str>, order: &mut Vec<&'a str>) -> Result<()> {
        // Also ends a walk in a circle, which a broken file may hold.
        if !begun.insert(path) {
            return Ok(());
        }
        let needs =
            self.needs.get(path).with_context(|| format!("modules.dep names {path} and does not have it"))?;
        for needed in needs {
            self.visit(needed, begun, order)?;
        }
        order.push(path);
        Ok(())
    }

    /// The module's line of `modules.dep`; everything it names is in the image too.
    fn line(&self, path: &str) -> String {
        let mut line = format!("{path}:");
        for needed in self.needs.get(path).into_iter().flatten() {
            line.push(' ');
            line.push_str(needed);
        }
        line.push('\n');
        line
    }
}

/// `kernel/drivers/virtio/virtio-ring.ko.xz` is `virtio_ring`.
fn name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next().unwrap_or(file).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    const DEPENDENCIES: &str = "\
kernel/virtio.ko: kernel/virtio_ring.ko
kernel/virtio_ring.ko:
kernel/virtio_pci.ko: kernel/virtio.ko kernel/virtio_ring.ko
kernel/net/vsock.ko:
kernel/net/vmw_vsock_virtio_transport_common.ko: kernel/virtio.ko kernel/virtio_ring.ko kernel/net/vsock.ko
kernel/net/vmw_vsock_virtio_transport.ko: kernel/net/vmw_vsock_virtio_transport_common.ko kernel/net/vsock.ko
kernel/other.ko: kernel/virtio.ko
";

    #[test]
    fn a_module_comes_after_all_that_it_needs_and_once() {
        let index = Index::parse(DEPENDENCIES, "kernel/char/virtio_console.ko\n");
        let expected = [
            "kernel/virtio_ring.ko",
            "kernel/virtio.ko",
            "kernel/virtio_pci.ko",
            "kernel/net/vsock.ko",
            "kernel/net/vmw_vsock_virtio_transport_common.ko",
            "kernel/net/vmw_vsock_virtio_transport.ko",
        ];
        let mut order = index.load_order().unwrap();
        assert_eq!(
            order.iter().position(|path| path.ends_with("vsock.ko")).map(|at| order.remove(at)),
            Some(expected[3])
        );
        assert_eq!(order, [expected[0], expected[1], expected[2], expected[4], expected[5]]);
    }

    #[test]
    fn a_kernel_without_vsock_is_refused_by_name() {
        let without: String = DEPENDENCIES
            .lines()
            .filter(|line| !line.contains("vsock"))
            .map(|line| format!("{line}\n"))
            .collect();
        let error = Index::parse(&without, "kernel/virtio_console.ko").load_order().unwrap_err();
        assert!(error.to_string().contains("vmw_vsock_virtio_transport"), "{error}");
    }

    #[test]
    fn everything_built_in_needs_nothing() {
        let builtin = "k/virtio-pci.ko\nk/vmw_vsock_virtio_transport.ko\nk/virtio_console.ko\n";
        assert_eq!(Index::parse("", builtin).load_order().unwrap(), [""; 0]);
    }

    #[test]
    fn a_circle_ends_and_a_hole_is_told() {
        let circle = DEPENDENCIES.replace("virtio_ring.ko:\n", "virtio_ring.ko: kernel/virtio.ko\n");
        assert!(Index::parse(&circle, "virtio_console.ko").load_order().is_ok());
        let hole = DEPENDENCIES.replace("kernel/virtio_ring.ko:\n", "");
        assert!(Index::parse(&hole, "virtio_console.ko").load_order().is_err());
    }

    #[test]
    fn the_tree_has_the_files_the_list_and_their_part_of_modules_dep() {
        let scratch = Scratch::new(&std::env::temp_dir(), "modules").unwrap();
        let folder = scratch.path("6.1-test");
        fs::create_dir_all(folder.join("kernel/net")).unwrap();
        fs::write(folder.join("modules.dep"), DEPENDENCIES).unwrap();
        fs::write(folder.join("modules.builtin"), "kernel/virtio_console.ko\n").unwrap();
        for line in DEPENDENCIES.lines() {
            let path = line.split(':').next().unwrap();
            fs::write(folder.join(path), path).unwrap();
        }
        let mut tree = Tree::default();
        assert_eq!(put(&mut tree, &folder).unwrap(), 6);
        let text = |wanted: &str| match &tree.entries().find(|(path, _)| *path == wanted).unwrap().1.content {
            Content::File(bytes) => String::from_utf8(bytes.clone()).unwrap(),
            other => panic!("{other:?}"),
        };
        let kept = text("lib/modules/6.1-test/modules.dep");
        assert!(
            kept.starts_with("kernel/virtio_ring.ko:\nkernel/virtio.ko: kernel/virtio_ring.ko\n"),
            "{kept}"
        );
        assert!(!kept.contains("other"), "{kept}");
        for module in text("etc/vsock-shell/modules").lines() {
            let relative = module.strip_prefix("/lib/modules/6.1-test/").unwrap();
            assert_eq!(text(module.trim_start_matches('/')), relative);
        }
    }
}
