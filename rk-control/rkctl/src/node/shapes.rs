//! Which fields of an answer a table shows.

use crate::output::{
    Column, Shape,
    Show::{Bytes, Date, Plain, Tenths},
};

macro_rules! shape {
    ($name:ident, $rows:literal, $($heading:literal $field:literal $show:ident),+) => {
        pub const $name: Shape = Shape { rows: $rows, columns: &[$(Column($heading, $field, $show)),+] };
    };
}

shape!(VERSION, "", "NAME" "hostname" Plain, "RK" "version" Plain, "KERNEL" "kernel" Plain, "MODE" "mode" Plain,
    "MACHINE ID" "machine_id" Plain);
shape!(HEALTH, "checks", "CHECK" "name" Plain, "OK" "ok" Plain, "WHAT" "message" Plain);
shape!(SERVICES, "services", "SERVICE" "name" Plain, "STATE" "state" Plain, "PID" "pid" Plain, "SECONDS" "uptime_seconds" Plain,
    "STARTS" "starts" Plain, "LAST EXIT" "last_exit" Plain);
shape!(PROCESSES, "processes", "PID" "pid" Plain, "PARENT" "parent" Plain, "STATE" "state" Plain, "THREADS" "threads" Plain,
    "MEMORY" "resident_bytes" Bytes, "CPU S" "cpu_seconds" Tenths, "NAME" "name" Plain, "CGROUP" "cgroup" Plain);
shape!(MOUNTS, "mounts", "SOURCE" "source" Plain, "TARGET" "target" Plain, "TYPE" "type" Plain, "SIZE" "size_bytes" Bytes,
    "FREE" "available_bytes" Bytes, "OPTIONS" "options" Plain);
shape!(DISKS, "disks", "NAME" "name" Plain, "SIZE" "size_bytes" Bytes, "SECTOR" "sector_bytes" Plain, "BUS" "bus" Plain,
    "MODEL" "model" Plain, "SERIAL" "serial" Plain, "PART OF" "parent" Plain, "HOLDS" "filesystem" Plain, "LABEL" "label" Plain,
    "MOUNTED ON" "mounted_on" Plain, "WWID" "wwid" Plain);
shape!(MEMORY, "", "TOTAL" "total_bytes" Bytes, "FREE" "free_bytes" Bytes, "AVAILABLE" "available_bytes" Bytes,
    "CACHED" "cached_bytes" Bytes, "SLAB" "slab_bytes" Bytes, "SWAP" "swap_total_bytes" Bytes);
shape!(SERVICE_MEMORY, "services", "SERVICE" "name" Plain, "NOW" "current_bytes" Bytes, "MOST" "peak_bytes" Bytes,
    "RESERVED" "reserved_bytes" Bytes);
shape!(CPU, "", "MODEL" "model" Plain, "CORES" "cores" Plain, "LOAD 1" "load_1" Tenths, "LOAD 5" "load_5" Tenths,
    "LOAD 15" "load_15" Tenths, "USER S" "user_seconds" Tenths, "SYSTEM S" "system_seconds" Tenths, "UP S" "uptime_seconds" Plain);
shape!(SOCKETS, "sockets", "PROTO" "protocol" Plain, "LOCAL" "local" Plain, "REMOTE" "remote" Plain, "STATE" "state" Plain,
    "IN" "receive_queue" Plain, "OUT" "send_queue" Plain, "PID" "pid" Plain, "PROCESS" "process" Plain);
shape!(INTERFACES, "interfaces", "NAME" "name" Plain, "MAC" "mac" Plain, "MTU" "mtu" Plain, "UP" "up" Plain,
    "CARRIER" "carrier" Plain, "ADDRESSES" "addresses" Plain, "DRIVER" "driver" Plain, "BUS" "bus_path" Plain,
    "RECEIVED" "received_bytes" Bytes, "SENT" "sent_bytes" Bytes);
shape!(ROUTES, "routes", "TO" "to" Plain, "VIA" "via" Plain, "INTERFACE" "interface" Plain, "METRIC" "metric" Plain);
shape!(DIRECTORY, "entries", "KIND" "kind" Plain, "SIZE" "size_bytes" Bytes, "CHANGED" "modified_seconds" Date, "NAME" "name" Plain,
    "LEADS TO" "link_target" Plain);
shape!(TIME, "", "UNIX MILLISECONDS" "unix_millis" Plain, "SYNCHRONIZED" "synchronized" Plain, "SERVER" "server" Plain,
    "OFF BY µS" "offset_micros" Plain);
shape!(PULLS, "layers", "IMAGE" "image" Plain, "SECONDS" "seconds" Plain, "LAYER" "layer" Plain, "STATE" "state" Plain,
    "DONE" "done_bytes" Bytes, "TOTAL" "total_bytes" Bytes, "RESUMED" "resumed_bytes" Bytes);
shape!(CERTIFICATES, "certificates", "USE" "use" Plain, "SUBJECT" "subject" Plain, "UNTIL" "not_after" Date, "NAMES" "names" Plain);
shape!(VALIDATION, "errors", "FIELD" "path" Plain, "WHAT IS WRONG" "reason" Plain);
shape!(PARTITIONS, "partitions", "PARTITION" "name" Plain, "SIZE" "size_bytes" Bytes);
shape!(CHANGES, "changes", "FIELD" "path" Plain, "BEFORE" "before" Plain, "AFTER" "after" Plain, "REBOOT" "needs_reboot" Plain);
