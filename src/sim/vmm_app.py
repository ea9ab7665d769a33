# SPDX-License-Identifier: Apache-2.0
"""State and actions of the simulated VMM: which VMs it knows, what it asks the supervisor, as 0.5.5 does both."""

import json
import os
import shutil
import threading
import time

import vmm_qemu
from base import http_call, log
from rpc import RpcError, context, file_context, os_error_text
from serde import JsonError
from vmm_qemu import Image, WorkDir


def duration(seconds):
    """As the humantime crate writes whole seconds."""
    if seconds <= 0:
        return "0s"
    out = []
    for name, size in (("year", 31557600), ("month", 2630016), ("day", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            out.append(f"{count}{name}{'s' if len(name) > 1 and count > 1 else ''}")
    return " ".join(out)


def since(stamp):
    return "never" if stamp is None else duration(int(time.time()) - stamp)


def note_of(process):
    """The VMM's note in a supervisor entry; whatever does not parse counts as empty."""
    try:
        note = json.loads(process["config"]["note"])
        return note if isinstance(note, dict) else {}
    except ValueError:
        return {}


def is_cvm(process):
    note = note_of(process)
    return note.get("live_for") is None and note.get("kind", "") in ("", "cvm")


def is_running(process):
    return bool(process) and process["state"]["status"] == "running"


class SupervisorClient:
    def __init__(self, sock):
        self.address = "unix:" + os.path.abspath(sock)

    def call(self, method, path, body=b""):
        try:
            status, _, data = http_call(self.address, method, path, body, timeout=60)
        except OSError as error:
            raise RpcError("client error (Connect)", os_error_text(error)) from error
        if status != 200:
            raise RpcError(f"Server returned error: {status}")
        answer = json.loads(data)
        if "error" in answer:
            raise RpcError("Server returned error", answer["error"])
        return answer["data"]

    def ping(self):
        try:
            return http_call(self.address, "GET", "/ping", timeout=0.1)[0] == 200
        except OSError:
            return False

    def list(self):
        with context("Failed to list VMs"):
            return self.call("GET", "/list")

    def info(self, name):
        return self.call("GET", f"/info/{name}")

    def deploy(self, process):
        with context(f"Failed to start process {process['id']}"):
            return self.call("POST", "/deploy", process)

    def stop(self, name):
        return self.call("POST", f"/stop/{name}", b"null")

    def remove(self, name):
        return self.call("DELETE", f"/remove/{name}")


class CidPool:
    """Upstream's pool: the first number handed out is start + 1, the end is exclusive."""

    def __init__(self, start, size):
        self.start, self.end, self.used = start, start + size, set()

    def occupy(self, cid):
        if cid in self.used:
            raise RpcError("id already occupied")
        self.used.add(cid)

    def allocate(self):
        for cid in range(self.start + 1, self.end):
            if cid not in self.used:
                self.used.add(cid)
                return cid
        raise RpcError("CID pool exhausted")


class Vm:
    """What the VMM holds in memory about a VM, and forgets when it ends."""

    def __init__(self):
        self.manifest = self.image = self.cid = self.workdir = None
        self.gateway = False
        self.boot_progress = self.boot_error = self.shutdown_progress = ""

    def reset(self, running):
        if not self.image.info["shared_ro"]:
            self.boot_progress, self.shutdown_progress = "N/A", "N/A"
        else:
            self.boot_progress, self.shutdown_progress = "running" if running else "booting", ""
        self.boot_error = ""


class App:
    def __init__(self, config, supervisor):
        self.config = config
        self.supervisor = supervisor
        self.pool = CidPool(config["cvm"]["cid_start"], config["cvm"]["cid_pool_size"])
        self.vms = {}
        self.lock = threading.RLock()

    def workdir(self, name):
        return WorkDir(os.path.join(self.config["run_path"], name))

    def passt(self):
        return self.config["cvm"]["networking"]["mode"] == "passt"

    def load_vm(self, path, cids, auto_start):
        workdir = WorkDir(path)
        with context("Failed to read manifest"):
            manifest = workdir.manifest()
        name = manifest["image"]
        if len(name.encode()) > 64 or ".." in name or not all(c.isalnum() or c in "_-." for c in name):
            raise RpcError("Invalid image name")
        with context("Failed to load image"):
            image = Image(os.path.join(self.config["image_path"], name))
        with context("Failed to read compose file"):
            compose = workdir.app_compose()
        with self.lock:
            vm = self.vms.get(manifest["id"])
            cid = vm.cid if vm else cids.get(manifest["id"]) or self.pool.allocate()
            vm = vm or Vm()
            vm.manifest, vm.image, vm.cid, vm.workdir = manifest, image, cid, workdir
            vm.gateway = vmm_qemu.gateway_enabled(compose)
            self.vms[manifest["id"]] = vm
        if auto_start and workdir.started():
            self.start_vm(manifest["id"])

    def start_vm(self, name):
        workdir = self.workdir(name)
        with context("Failed to read manifest"):
            manifest = workdir.manifest()
        system = vmm_qemu.sys_config(self.config, manifest)
        with context("Failed to write vm config"):
            workdir.write(workdir.shared_file(".sys-config.json"), system)
        running = is_running(self.supervisor.info(name))
        with context("Failed to set started"):
            workdir.set_started(True)
        with self.lock:
            vm = self.vms.get(name)
            if not vm:
                raise RpcError("VM not found")
            vm.reset(running)
        if running:
            return
        if self.passt():
            try:
                self.supervisor.stop(f"passt-{name}")
            except RpcError:
                pass  # it does not run: fine
        for file in ("serial.pty", "qmp.sock"):
            if os.path.lexists(workdir.file(file)):
                with file_context("remove file", workdir.file(file)):
                    os.unlink(workdir.file(file))
        for process in vmm_qemu.processes(self.config, vm.manifest, vm.image, vm.cid, workdir):
            self.supervisor.deploy(process)

    def stop_vm(self, name):
        with context("Failed to set started"):
            self.workdir(name).set_started(False)
        self.supervisor.stop(name)

    def remove_vm(self, name):
        info = self.supervisor.info(name)
        if is_running(info):
            raise RpcError("VM is running, stop it first")
        if info:
            if info["state"]["status"] != "stopped":
                self.supervisor.stop(name)
            self.supervisor.remove(name)
            if self.passt():
                self.remove_passt(f"passt-{name}")
        with self.lock:
            vm = self.vms.pop(name, None)
            if vm:
                self.pool.used.discard(vm.cid)
        path = self.workdir(name).path
        with context("Failed to remove VM directory"), file_context("remove directory", path):
            shutil.rmtree(path)

    def remove_passt(self, name):
        info = self.supervisor.info(name)
        if is_running(info):
            self.supervisor.stop(name)
        if info:
            self.supervisor.remove(name)

    def reload_vms(self):
        """At start: CVMs are known only through the supervisor's list; what cannot be loaded is left out, and left."""
        cids = {p["config"]["id"]: p["config"]["cid"] for p in self.supervisor.list()
                if is_cvm(p) and p["config"]["cid"] is not None}
        for cid in cids.values():
            self.pool.occupy(cid)
        run_path = self.config["run_path"]
        if not os.path.exists(run_path):
            return
        with context("Failed to read VM directory"):
            names = os.listdir(run_path)
        for name in names:
            path = os.path.join(run_path, name)
            if os.path.isdir(path):
                try:
                    self.load_vm(path, cids, True)
                except (RpcError, JsonError) as error:
                    log("error", f"Failed to load VM: {error}")

    def restart_exited(self):
        """Starts each `started` VM that the supervisor does not run; one failure ends the pass, as at 0.5.5."""
        running = {p["config"]["id"] for p in self.supervisor.list() if is_running(p)}
        with self.lock:
            known = list(self.vms)
        for name in [n for n in known if n not in running and self.workdir(n).started()]:
            log("info", f"Restarting VM {name}")
            self.start_vm(name)

    def list_vms(self, request):
        processes = {p["config"]["id"]: p for p in self.supervisor.list()}

        def wanted(manifest):
            if request["ids"] and manifest["id"] not in request["ids"]:
                return False
            return any(request["keyword"] in manifest[key] for key in ("name", "id", "app_id", "image"))

        with self.lock:
            vms = [vm for vm in self.vms.values() if wanted(vm.manifest)]
            vms.sort(key=lambda vm: vm.manifest["created_at_ms"])
            page, size = request["page"], request["page_size"]
            shown = vms[(page - 1) * size:page * size] if page and size else vms
            infos = [self.vm_info(vm, processes.get(vm.manifest["id"]), request["brief"]) for vm in shown]
        return {"vms": infos, "port_mapping_enabled": self.config["cvm"]["port_mapping"]["enabled"],
                "total": len(vms)}

    def get_info(self, name):
        process = self.supervisor.info(name)
        with self.lock:
            vm = self.vms.get(name)
            return self.vm_info(vm, process, False) if vm else None

    def vm_info(self, vm, process, brief):
        manifest, state = vm.manifest, process["state"] if process else {"started_at": None, "stopped_at": None}
        workdir = self.workdir(manifest["id"])
        started, running = workdir.started(), is_running(process)
        status = {(True, True): "running", (True, False): "exited", (False, True): "stopping",
                  (False, False): "stopped"}[started, running]
        info = workdir.instance_info()
        instance = info["instance_id"] if info else None
        gateway, url = self.config["gateway"], None
        if vm.gateway and instance is not None:
            port = "" if gateway["port"] == 443 else f":{gateway['port']}"
            url = f"https://{instance}-{gateway['agent_port']}.{gateway['base_domain']}{port}"
        return {"id": manifest["id"], "name": manifest["name"], "status": status,
                "uptime": since(state["started_at"]), "app_url": url, "app_id": manifest["app_id"],
                "instance_id": instance, "configuration": None if brief else self.vm_configuration(vm, workdir),
                "exited_at": since(state["stopped_at"]), "boot_progress": vm.boot_progress,
                "boot_error": vm.boot_error, "shutdown_progress": vm.shutdown_progress,
                "image_version": vm.image.info["version"]}

    def vm_configuration(self, vm, workdir):
        manifest = vm.manifest
        try:
            on_disk = workdir.manifest()
        except RpcError:
            on_disk = {"kms_urls": [], "gateway_urls": []}
        gpus = manifest["gpus"]
        return {**{key: manifest[key] for key in ("name", "image", "vcpu", "memory", "disk_size", "app_id",
                                                  "hugepages", "pin_numa")},
                "compose_file": workdir.text("app-compose.json").decode(errors="replace"),
                "encrypted_env": workdir.text(".encrypted-env"),
                "user_config": workdir.text(".user-config").decode(errors="replace"),
                "ports": [{"protocol": port["protocol"], "host_address": port["address"], "host_port": port["from"],
                           "vm_port": port["to"]} for port in manifest["port_map"]],
                "gpus": gpus and {"attach_mode": gpus["attach_mode"],
                                  "gpus": [{"slot": gpu["slot"]} for gpu in gpus["gpus"]]},
                "kms_urls": on_disk["kms_urls"], "gateway_urls": on_disk["gateway_urls"],
                "stopped": not workdir.started()}

    def event(self, cid, event, payload):
        """A guest's report. It lives in memory only, instance.info excepted."""
        log("info", f"VM event cid={cid} event={event}")
        if len(payload.encode()) > 4096:
            log("error", "Event body too large, skipping")
            return
        with self.lock:
            vm = next((vm for vm in self.vms.values() if vm.cid == cid), None)
            if not vm:
                raise RpcError("VM not found")
            if event in ("boot.progress", "boot.error"):
                setattr(vm, event.replace(".", "_"), payload)
            elif event == "shutdown.progress":
                if payload == "powering off":
                    with context("Failed to set started"):
                        vm.workdir.set_started(False)
                vm.shutdown_progress = payload
            elif event == "instance.info":
                vm.workdir.write(vm.workdir.shared_file(".instance_info"), payload)
            else:
                log("error", f"Guest reported unknown event: {event}")

    def images(self):
        root = self.config["image_path"]
        with context("Failed to read image directory"), file_context("read directory", root):
            names = sorted(os.listdir(root))
        out = []
        for name in names:
            try:
                out.append((name, Image(os.path.join(root, name)).info))
            except RpcError:
                pass  # upstream silently skips what does not load
        return out
