//! Flows that ask what packets are to their connections.

/// Pipelines between a client at port 1 and a server at port 2.
pub(crate) const PIPELINES: [&[&str]; 8] = [
    // A firewall.
    &[
        "table=0,priority=1,ip,actions=ct(table=1)",
        "table=0,priority=1,ipv6,actions=ct(table=1)",
        "table=1,priority=1,in_port=1,ip,ct_state=+new+trk,actions=ct(commit),output:2",
        "table=1,priority=1,in_port=1,ipv6,ct_state=+new+trk,actions=ct(commit),output:2",
        "table=1,priority=1,in_port=1,ct_state=+est+trk,actions=output:2",
        "table=1,priority=1,in_port=2,ct_state=+est+rpl+trk,actions=output:1",
    ],
    // The client is hidden, and a hop counted.
    &[
        "table=0,priority=1,ct_state=-trk,ip,actions=ct(zone=1,nat,table=1)",
        "table=0,priority=1,ct_state=-trk,ipv6,actions=ct(zone=1,nat,table=1)",
        "table=1,priority=1,in_port=1,ip,ct_state=+new+trk,actions=ct(commit,zone=1,nat(src=10.0.0.9:5000-5003),exec(load:5->NXM_NX_CT_MARK[])),dec_ttl,output:2",
        "table=1,priority=1,in_port=1,ipv6,ct_state=+new+trk,actions=ct(commit,zone=1,nat(src=fd00::9)),output:2",
        "table=1,priority=1,in_port=1,ip,ct_state=+est+trk,ct_mark=5,actions=dec_ttl,mod_dl_dst:02:00:00:00:00:02,output:2",
        "table=1,priority=0,in_port=1,ct_state=+est+trk,actions=mod_dl_dst:02:00:00:00:00:02,output:2",
        "table=1,priority=1,in_port=2,ct_state=+est+rpl+trk,actions=output:1",
    ],
    // A service: who is asked for is somebody else.
    &[
        "table=0,priority=1,ip,actions=mod_nw_tos:16,ct(zone=1,nat,table=1)",
        "table=0,priority=1,ipv6,actions=ct(zone=1,nat,table=1)",
        "table=1,priority=1,in_port=1,ip,ct_state=+new+trk,actions=ct(commit,zone=1,nat(dst=10.0.0.7:8080),table=2)",
        "table=1,priority=1,in_port=1,ipv6,ct_state=+new+trk,actions=ct(commit,zone=1,nat(dst=[fd00::7]:8080),table=2)",
        "table=1,priority=1,in_port=1,ct_state=+est+trk,actions=resubmit(,2)",
        "table=1,priority=1,in_port=2,ct_state=+est+rpl+trk,actions=output:1",
        "table=2,priority=1,ip,nw_dst=10.0.0.7,nw_tos=16,actions=output:2",
        "table=2,priority=1,ipv6,ipv6_dst=fd00::7,actions=output:2",
    ],
    // Three zones, one behind the other; hops are counted between them; somebody sees a copy.
    &[
        "table=0,priority=1,in_port=1,ip,actions=dec_ttl,mod_dl_src:02:00:00:00:00:0a,ct(zone=1,nat,table=1)",
        "table=1,priority=1,ip,ct_state=+new+trk,actions=ct(commit,zone=1,nat(dst=10.0.0.7),table=2)",
        "table=1,priority=0,ip,actions=dec_ttl,resubmit(,2)",
        "table=2,priority=0,ip,actions=ct(commit,zone=2,table=3)",
        "table=3,priority=0,ip,ct_zone=2,actions=ct(commit,zone=3,exec(load:1->NXM_NX_CT_LABEL[5]),table=6)",
        "table=6,priority=1,in_port=1,ip,ct_label=0x20/0x20,actions=dec_ttl,output:3,output:2",
        "table=0,priority=1,in_port=2,ip,actions=dec_ttl,ct(zone=3,table=4)",
        "table=4,priority=1,ip,ct_state=+est+trk,actions=ct(zone=2,table=5)",
        "table=5,priority=1,ip,ct_state=+est+trk,actions=ct(zone=1,nat,table=6)",
        "table=6,priority=1,in_port=2,ip,actions=mod_nw_tos:8,output:1",
        "table=0,priority=1,in_port=1,ipv6,actions=dec_ttl,mod_dl_src:02:00:00:00:00:0a,ct(zone=1,nat,table=1)",
        "table=1,priority=1,ipv6,ct_state=+new+trk,actions=ct(commit,zone=1,nat(dst=[fd00::7]),table=2)",
        "table=1,priority=0,ipv6,actions=dec_ttl,resubmit(,2)",
        "table=2,priority=0,ipv6,actions=ct(commit,zone=2,table=3)",
        "table=3,priority=0,ipv6,ct_zone=2,actions=ct(commit,zone=3,exec(load:1->NXM_NX_CT_LABEL[5]),table=6)",
        "table=6,priority=1,in_port=1,ipv6,ct_label=0x20/0x20,actions=dec_ttl,output:3,output:2",
        "table=0,priority=1,in_port=2,ipv6,actions=dec_ttl,ct(zone=3,table=4)",
        "table=4,priority=1,ipv6,ct_state=+est+trk,actions=ct(zone=2,table=5)",
        "table=5,priority=1,ipv6,ct_state=+est+trk,actions=ct(zone=1,nat,table=6)",
        "table=6,priority=1,in_port=2,ipv6,actions=output:1",
    ],
    // Who is asked for is somebody else twice: by a flow, and translated; and nobody hears who asks.
    &[
        "table=0,priority=1,in_port=1,tcp,actions=mod_nw_dst:10.0.0.3,mod_tp_src:77,ct(zone=1,nat,table=1)",
        "table=0,priority=1,in_port=1,udp,actions=mod_nw_src:10.0.0.4,ct(zone=1,nat,table=1)",
        "table=0,priority=1,in_port=2,ip,actions=ct(zone=1,nat,table=1)",
        "table=0,priority=1,ipv6,actions=ct(table=1)",
        "table=1,priority=2,in_port=1,ip,ct_state=+new+trk,actions=ct(commit,zone=1,nat(dst=10.0.0.7)),output:2",
        "table=1,priority=1,in_port=1,ip,actions=output:2",
        "table=1,priority=1,in_port=2,ip,actions=output:1",
        "table=1,priority=2,ipv6,ct_state=+new+trk,actions=ct(commit),output:2",
        "table=1,priority=1,in_port=1,ipv6,actions=output:2",
        "table=1,priority=1,in_port=2,ipv6,actions=output:1",
    ],
    // What is behind a hop looks at a part of what is left.
    &[
        "table=0,priority=1,ip,actions=dec_ttl,ct(commit,table=1)",
        "table=0,priority=1,ipv6,actions=dec_ttl,ct(commit,table=1)",
        "table=1,priority=1,ip,actions=move:NXM_NX_IP_TTL[4..7]->NXM_NX_REG0[0..3],resubmit(,2)",
        "table=1,priority=1,ipv6,actions=move:NXM_NX_IP_TTL[4..7]->NXM_NX_REG0[0..3],resubmit(,2)",
        "table=2,priority=1,in_port=1,reg0=4,actions=output:2",
        "table=2,priority=1,in_port=1,reg0=3,actions=output:3,output:2",
        "table=2,priority=1,in_port=2,reg0=4,actions=output:1",
        "table=2,priority=1,in_port=2,reg0=3,actions=output:4",
    ],
    // What is known is let through, or not, by what it says.
    &[
        "table=0,priority=1,ip,actions=ct(commit,zone=4,table=1)",
        "table=0,priority=1,ipv6,actions=ct(commit,zone=4,table=1)",
        "table=1,priority=3,ct_state=+est+trk,tcp,tcp_flags=+psh,actions=output:3",
        "table=1,priority=2,ct_state=+est+trk,ip,nw_ttl=63,actions=drop",
        "table=1,priority=1,ct_state=+est+rpl+trk,actions=output:1",
        "table=1,priority=1,ct_state=+est-rpl+trk,actions=output:2",
        "table=1,priority=0,in_port=1,actions=output:2",
        "table=1,priority=0,in_port=2,actions=output:1",
    ],
    // What is looked at is none of what tells sessions apart.
    &[
        "table=0,priority=2,ip,nw_tos=32,actions=ct(commit,table=2)",
        "table=0,priority=1,ip,actions=ct(commit,table=1)",
        "table=0,priority=2,ipv6,nw_tos=32,actions=ct(commit,table=2)",
        "table=0,priority=1,ipv6,actions=ct(commit,table=1)",
        "table=1,priority=3,dl_src=02:00:00:00:00:99,actions=output:3",
        "table=1,priority=2,tcp,tcp_flags=+psh,actions=output:4",
        "table=1,priority=2,tcp6,tcp_flags=+psh,actions=output:4",
        "table=1,priority=1,in_port=1,actions=output:2",
        "table=1,priority=1,in_port=2,actions=output:1",
        "table=2,priority=1,in_port=1,actions=output:2",
        "table=2,priority=1,in_port=2,actions=output:1",
    ],
];

/// What comes and goes meanwhile.
pub(crate) const CHANGES: [&str; 6] = [
    "table=1,priority=9,ip,nw_tos=32,ct_state=+est+trk,actions=ct(commit,zone=1,exec(load:7->NXM_NX_CT_MARK[])),output:4",
    "table=1,priority=8,ip,ct_mark=7,ct_state=+trk,actions=output:3",
    "table=1,priority=7,ip,ct_state=+est+trk,actions=dec_ttl,output:2",
    "table=0,priority=6,ip,nw_ttl=62,actions=output:4",
    "table=2,priority=5,ip,actions=output:1",
    "table=1,priority=5,tcp,ct_state=+est+rpl+trk,actions=mod_tp_dst:99,output:1",
];
