//! Groups as text, one by one: spellings, refusals, and where we differ from OVS.

/// Groups, and what is printed of each; OVS does the same.
pub(super) const SPELLINGS: &[(&str, &str)] = &[
    (
        "group_id=5,type=select,bucket=ct(nat(dst=10.0.0.1:80),commit,table=2,zone=5),bucket=ct_clear",
        "group_id=5,type=select,bucket=bucket_id:0,actions=ct(commit,table=2,zone=5,nat(dst=10.0.0.1:80)),bucket=bucket_id:1,actions=ct_clear",
    ),
    (
        "group_id=5,type=all,bucket=ct(commit,exec(move:tcp_src->ct_mark[0..15])),move:ct_nw_src->reg0",
        "group_id=5,type=all,bucket=bucket_id:0,actions=ct(commit,exec(move:NXM_OF_TCP_SRC[]->NXM_NX_CT_MARK[0..15])),move:NXM_NX_CT_NW_SRC[]->NXM_NX_REG0[]",
    ),
    (
        "group_id=5,type=select,selection_method=hash,fields(ct_label=0xff,ct_nw_src,ct_mark),bucket=1",
        "group_id=5,type=select,selection_method=hash,fields(ct_mark,ct_label=0xff,ct_nw_src),bucket=bucket_id:0,actions=output:1",
    ),
    ("group_id=5,type=all", "group_id=5,type=all"),
    ("group_id=5,type=all,bucket=drop", "group_id=5,type=all,bucket=bucket_id:0,actions=drop"),
    (
        "group_id=5,type=select,bucket=actions=",
        "group_id=5,type=select,bucket=bucket_id:0,actions=drop",
    ),
    (
        "group_id=5,type=select,bucket=weight:20,bucket_id:7,output:2,bucket=actions=3",
        "group_id=5,type=select,bucket=bucket_id:7,weight:20,actions=output:2,bucket=bucket_id:0,actions=output:3",
    ),
    (
        "group_id=0x10 type=all bucket=1,2,normal bucket=controller",
        "group_id=16,type=all,bucket=bucket_id:0,actions=output:1,output:2,NORMAL,bucket=bucket_id:1,actions=CONTROLLER:65535",
    ),
    (
        "group_id=5,type=select,bucket=bucket_id=3,1,bucket=2,bucket=bucket_id=0,4,bucket=5",
        "group_id=5,type=select,bucket=bucket_id:3,actions=output:1,bucket=bucket_id:1,actions=output:2,bucket=bucket_id:0,actions=output:4,bucket=bucket_id:2,actions=output:5",
    ),
    (
        "group_id=5,type=fast_failover,bucket=watch_group:1,output:1",
        "group_id=5,type=ff,bucket=bucket_id:0,watch_group:1,actions=output:1",
    ),
    (
        "group_id=5,type=ff,bucket=watch_port=controller,1,bucket=watch_port:3,watch_group=4,resubmit(,3)",
        "group_id=5,type=ff,bucket=bucket_id:0,watch_port:CONTROLLER,actions=output:1,bucket=bucket_id:1,watch_port:3,watch_group:4,actions=resubmit(,3)",
    ),
    (
        "group_id=5,type=indirect,bucket=weight=0,group:4",
        "group_id=5,type=indirect,bucket=bucket_id:0,actions=group:4",
    ),
    (
        "group_id=5,type=select,bucket=weight:1,bucket_id:5,weight:0,output:2,watch_port:any",
        "group_id=5,type=select,bucket=bucket_id:5,weight:0,actions=output:2",
    ),
    (
        "group_id=5,group_id=6,type=all,bucket=1",
        "group_id=6,type=all,bucket=bucket_id:0,actions=output:1",
    ),
    (
        "group_id=5,type=select,selection_method=dp_hash,selection_method_param=0x7,bucket=1",
        "group_id=5,type=select,selection_method=dp_hash,selection_method_param=7,bucket=bucket_id:0,actions=output:1",
    ),
    (
        "group_id=5,type=select,selection_method=hash,fields=ip_dst,bucket=1",
        "group_id=5,type=select,selection_method=hash,fields=ip_dst,bucket=bucket_id:0,actions=output:1",
    ),
    (
        "group_id=5,type=select,selection_method=hash,fields(nw_dst,ip_src=255.255.255.0,tp_dst=0xff,eth_dst,reg0=0xff),bucket=1",
        "group_id=5,type=select,selection_method=hash,fields(reg0=0xff,eth_dst,ip_src=255.255.255.0,ip_dst,tcp_dst=255),bucket=bucket_id:0,actions=output:1",
    ),
    (
        "group_id=5,type=select,selection_method=hash,fields(),bucket=1",
        "group_id=5,type=select,selection_method=hash,bucket=bucket_id:0,actions=output:1",
    ),
    (
        "group_id=5,type=all,bucket=set_vlan_vid:4,strip_vlan,dec_ttl,mod_nw_dst:1.2.3.4,set_field:80->udp_dst,load:1->reg0[0..3],set_tunnel:5,1",
        "group_id=5,type=all,bucket=bucket_id:0,actions=set_field:4100->vlan_vid,pop_vlan,dec_ttl,set_field:1.2.3.4->ip_dst,set_field:80->udp_dst,set_field:0x1/0xf->reg0,set_field:0x5->tun_id,output:1",
    ),
];

/// The same over OpenFlow 1.0.
pub(super) const OLD_SPELLINGS: &[(&str, &str)] = &[(
    "group_id=5,type=all,bucket=strip_vlan,dec_ttl,mod_nw_dst:1.2.3.4,mod_tp_dst:80,load:1->reg0[0..3],set_tunnel:5,1",
    "group_id=5,type=all,bucket=bucket_id:0,actions=strip_vlan,dec_ttl,mod_nw_dst:1.2.3.4,mod_tp_dst:80,load:0x1->NXM_NX_REG0[0..3],set_tunnel:0x5,output:1",
)];

/// Groups of which we think otherwise than OVS: what we make of each, and why.
pub(super) const DEVIATIONS: &[(&str, Result<&str, &str>, &str)] = &[
    (
        "group_id=all,type=all",
        Err("`group_id` takes a number, found `all`"),
        "OVS takes it for a number that no group can have",
    ),
    (
        "group_id=5,type=all,bucket=clone(1)",
        Err("`clone` cannot be part of an action set"),
        "OVS leaves it out when the bucket is executed",
    ),
    (
        "group_id=5,type=all,bucket=note:01",
        Err("`note` cannot be part of an action set"),
        "as above",
    ),
    (
        "group_id=5,type=all,bucket=output:reg0",
        Err("`output` cannot be part of an action set"),
        "as above",
    ),
    (
        "group_id=5,type=all,bucket=enqueue:1:2",
        Err("`enqueue` cannot be part of an action set"),
        "`set_queue` can",
    ),
    (
        "group_id=5,type=all,bucket=meter:1",
        Err("`meter` cannot stand in a bucket: only flows have instructions"),
        "meters are for flows",
    ),
    (
        "group_id=5,type=all,bucket=mod_vlan_vid:7",
        Ok("group_id=5,type=all,bucket=bucket_id:0,actions=mod_vlan_vid:7"),
        "whether to push is decided by the packet",
    ),
];

/// Groups that nobody takes, with our error and the bytes it is about.
pub(super) const REFUSED: &[(&str, &str, std::ops::Range<usize>)] = &[
    (
        "group_id=1,type=all,bucket=set_field:1->ct_mark",
        "`ct_mark` is written within `ct(exec(...))` alone",
        40..47,
    ),
    ("group_id=1,type=all,bucket=ct(force)", "`force` goes with `commit`", 30..35),
    ("type=select,bucket=1", "`group_id=` is missing", 20..20),
    ("group_id=5,bucket=1", "`type=` is missing", 19..19),
    (
        "group_id=5,type=foo,bucket=1",
        "`type` takes all, select, indirect, ff or fast_failover, found `foo`",
        16..19,
    ),
    (
        "group_id=4294967041,type=all",
        "`group_id` takes a number from 0 to 4294967040, found `4294967041`",
        9..19,
    ),
    ("group_id=5,type=all,foo=3,bucket=1", "unknown word `foo`", 20..23),
    ("group_id=5,typ=all,bucket=1", "unknown word `typ`, did you mean `type`?", 11..14),
    (
        "group_id=5,type=all,bucket=",
        "`actions=` is missing; `actions=drop` does nothing with the packet",
        27..27,
    ),
    (
        "group_id=5,type=select,bucket=1,bucket=weight:3",
        "`actions=` is missing; `actions=drop` does nothing with the packet",
        47..47,
    ),
    ("group_id=5,type=all,bucket=foo", "unknown action `foo`", 27..30),
    ("group_id=5,type=indirect", "`bucket=` is missing", 24..24),
    (
        "group_id=5,type=indirect,bucket=1,bucket=2",
        "`bucket` can be in an indirect group only once",
        41..42,
    ),
    (
        "group_id=5,type=ff,bucket=1",
        "`bucket` of an ff group needs `watch_port` or `watch_group`",
        26..27,
    ),
    (
        "group_id=5,type=ff,bucket=watch_port:none,1",
        "`bucket` of an ff group needs `watch_port` or `watch_group`",
        26..43,
    ),
    (
        "group_id=5,type=ff,bucket=watch_port:local,1",
        "`watch_port` takes a port below 65280, or CONTROLLER, found `local`",
        37..42,
    ),
    (
        "group_id=5,type=all,bucket=watch_port:3,1",
        "`watch_port` is for buckets of select and ff groups",
        27..37,
    ),
    (
        "group_id=5,type=all,bucket=1,weight=3",
        "`weight` is for the buckets of select groups",
        29..35,
    ),
    (
        "group_id=5,type=select,bucket=weight=65536,1",
        "`65536` does not fit the 16 bits of `weight`",
        37..42,
    ),
    (
        "group_id=5,type=select,bucket=bucket_id=3,1,bucket=bucket_id=3,2",
        "`bucket_id` is that of an earlier bucket",
        51..64,
    ),
    (
        "group_id=5,type=select,bucket=bucket_id=4294967041,1",
        "`bucket_id` takes a number from 0 to 4294967040, found `4294967041`",
        40..50,
    ),
    (
        "group_id=5,type=select,selection_method=foo,bucket=1",
        "`selection_method` takes dp_hash or hash, found `foo`",
        40..43,
    ),
    (
        "group_id=5,type=all,selection_method=dp_hash,bucket=1",
        "`selection_method` is for select groups",
        20..36,
    ),
    (
        "group_id=5,type=select,selection_method_param=7,bucket=1",
        "`selection_method_param` goes with `selection_method`",
        23..45,
    ),
    (
        "group_id=5,type=select,fields=ip_dst,bucket=1",
        "`fields` goes with `selection_method=hash`",
        23..29,
    ),
    (
        "group_id=5,type=select,selection_method=dp_hash,fields=ip_dst,bucket=1",
        "`fields` goes with `selection_method=hash`",
        48..54,
    ),
    (
        "group_id=5,type=select,selection_method=hash,fields(nw_proto=0xf),bucket=1",
        "`nw_proto` is matched whole or not at all",
        61..64,
    ),
    (
        "group_id=5,type=select,selection_method=hash,fields(ip_dst=0.0.0.0),bucket=1",
        "`ip_dst` takes a mask with at least one bit, found `0.0.0.0`",
        59..66,
    ),
    (
        "group_id=5,type=select,command_bucket_id=3,bucket=1",
        "`command_bucket_id` goes with `insert_bucket` and `remove_bucket`",
        23..40,
    ),
    (
        "group_id=5,type=all,bucket=goto_table:3",
        "`goto_table` cannot stand in a bucket: only flows have instructions",
        27..37,
    ),
    (
        "group_id=5,type=all,bucket=write_actions(1)",
        "`write_actions` cannot stand in a bucket: only flows have instructions",
        27..40,
    ),
    (
        "group_id=5,type=all,bucket=output:none",
        "`output` takes a port from 1 to 65279, or a reserved one to send to, found `none`",
        34..38,
    ),
];
