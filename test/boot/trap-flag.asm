; Boot sector: sets TF for three NOPs, then a breakpoint by DR0 and DR7. Prints how many of exception 1 came: STEPS=8 HWBP=1
; on a CPU.
org 7c00h
 xor ax,ax
 mov ds,ax
 mov es,ax
 mov ss,ax
 mov sp,7c00h
 mov word [4],isr
 mov word [6],0
 mov ax,00e3h
 xor dx,dx
 int 14h
 pushf
 pop ax
 or ah,1
 push ax
 popf
 nop
 nop
 nop
 pushf
 pop ax
 and ah,0feh
 push ax
 popf
 nop
 mov al,[cnt]
 add al,'0'
 mov [m2],al
 ; hw breakpoint: DR0 = linear address of bp, DR7 = L0|G0 exec
 mov byte [cnt],0
 mov eax,brk
 mov dr0,eax
 mov eax,3
 mov dr7,eax
 nop
brk: nop
 xor eax,eax
 mov dr7,eax
 mov al,[cnt]
 add al,'0'
 mov [m3],al
 mov si,msg
p: lodsb
 or al,al
 jz e
 push ax
 mov ah,0eh
 int 10h
 pop ax
 mov ah,1
 xor dx,dx
 int 14h
 jmp p
e: ; power off via ACPI? just halt
 cli
 hlt
 jmp e
isr: inc byte [cnt]
 push bp
 mov bp,sp
 push eax
 mov eax,dr6
 mov eax,0
 mov dr6,eax
 or word [bp+6],0
 pop eax
 or byte [ss:bp+8],0
 or word [bp+6],0
 ; set RF so that an exec breakpoint is not taken again (real-mode iret cannot: clear dr7 instead)
 push eax
 xor eax,eax
 mov dr7,eax
 pop eax
 pop bp
 iret
cnt db 0
msg db 'STEPS='
m2 db '?',' HWBP='
m3 db '?',13,10,0
times 510-($-$$) db 0
dw 0aa55h
