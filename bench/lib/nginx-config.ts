/** nginx with one worker, set to do well: sendfile, open files kept, without an access log unless it is wanted; in the foreground. */
export function nginxConfig(directory: string, server: string, logs = false): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  return `
user root;
daemon off;
worker_processes 1;
worker_rlimit_nofile 65536;
pid ${directory}/nginx.pid;
events { worker_connections 16384; }
http {
  ${temporary.map((name) => `${name}_temp_path ${directory}/${name};`).join('\n  ')}
  access_log ${logs ? `${directory}/access.log` : 'off'};
  default_type application/octet-stream;
  sendfile on;
  keepalive_requests 1000000000;
  open_file_cache max=1000 inactive=1h;
  open_file_cache_valid 1m;
  ${server}
}
`;
}
