#!/usr/bin/perl
# An echo server with a process for each client: it answers a client's first message, and closes.
#
# Run it:  perl echo_multi.pl PORT
# Bad at:  crowds. Each client costs a process for as long as it is silent.
use strict;
use warnings;
use IO::Select;
use IO::Socket::INET;
use POSIX ();
use Socket qw(inet_ntoa sockaddr_in);
use Time::HiRes qw(sleep time);

my $MAX_MSG_LEN = 16 * 1024;    # bytes, without the zero byte
my $LINGER      = 0.5;          # seconds for which a connection is read on before it is closed

my $stopping = 0;
my %children;                   # the processes that serve a client now

main(@ARGV);

sub main {
    my ($port) = @_;
    my $listener = IO::Socket::INET->new(
        LocalAddr => '127.0.0.1',
        LocalPort => $port,
        ReuseAddr => 1,
        Listen    => 1024,
        Blocking  => 0,
    ) or die "cannot listen: $@\n";
    $SIG{INT} = $SIG{TERM} = sub { $stopping = 1 };
    $SIG{CHLD} = sub { };       # only wakes the one who waits for clients
    $SIG{PIPE} = 'IGNORE';
    serve($listener);
    close $listener;
    kill 'KILL', keys %children;
    wait_for_children(0);
}

sub serve {
    my ($listener) = @_;
    my $waiter = IO::Select->new($listener);
    until ($stopping) {
        wait_for_children(POSIX::WNOHANG);
        # A signal that comes just before the wait is noticed after it: so it has an end.
        next unless $waiter->can_read(1);
        my ($sock, $peer) = $listener->accept;
        if (!$sock) {
            sleep 0.05 unless $!{EAGAIN};    # it has broken already, or no descriptor is left
            next;
        }
        my $pid = fork;
        if (!defined $pid) {
            sleep 0.05;                      # no room for a process
        } elsif ($pid == 0) {
            $SIG{$_} = 'DEFAULT' for qw(INT TERM CHLD);
            close $listener;
            eval { handle_client($sock, $peer) };
            POSIX::_exit(0);
        } else {
            $children{$pid} = 1;
        }
        close $sock;
    }
}

# A child that has ended stays in the system's table until somebody asks for it.
sub wait_for_children {
    my ($flags) = @_;
    while (%children) {
        my $pid = waitpid -1, $flags;
        last if $pid <= 0;
        delete $children{$pid};
    }
}

sub handle_client {
    my ($sock, $peer) = @_;
    $sock->blocking(1);
    my $msg = recv_msg($sock);
    if (defined $msg) {
        my ($port, $host) = sockaddr_in($peer);
        send_all($sock, inet_ntoa($host) . ":$port: $msg\0");
    }
    close_gently($sock);
}

# Returns the client's first message, or nothing if it leaves before that is whole.
sub recv_msg {
    my ($sock) = @_;
    my $rest = '';
    while (1) {
        sysread($sock, $rest, 4096, length $rest) or return;
        $rest =~ s/^\0+//;
        my $len = index $rest, "\0";
        die "the message is too long\n" if ($len < 0 ? length $rest : $len) > $MAX_MSG_LEN;
        next if $len < 0;
        my $msg = substr $rest, 0, $len;
        die "the message is not UTF-8\n" unless is_utf8($msg);
        return $msg;
    }
}

# Perl itself takes more for UTF-8 than Unicode does.
sub is_utf8 {
    my ($text) = @_;
    return utf8::decode($text) && $text !~ /[\x{D800}-\x{DFFF}]|[^\x{0}-\x{10FFFF}]/;
}

sub send_all {
    my ($sock, $data) = @_;
    while (length $data) {
        my $sent = syswrite $sock, $data or die "send: $!\n";
        substr $data, 0, $sent, '';
    }
}

# Says that nothing more comes, and reads on for a moment: a close with bytes unread would send a
# reset, which may overtake the answer.
sub close_gently {
    my ($sock) = @_;
    shutdown $sock, 1;
    my $deadline = time + $LINGER;
    my $waiter   = IO::Select->new($sock);
    while (time < $deadline && $waiter->can_read($LINGER)) {
        sysread($sock, my $thrown_away, 65536) or last;
    }
}
