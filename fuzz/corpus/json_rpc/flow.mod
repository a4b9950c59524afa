!$&+2:AZ{"jsonrpc":"2.0","id":1,"method":"flow.mod","params":{"bridge":"br0","flows":["delete","table=0,priority=100,ip,nw_dst=10.0.0.0/8,actions=output:2"]}}
